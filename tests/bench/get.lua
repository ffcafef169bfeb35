-- Reads workloads by id, one after another from the file named as argument. Requests are built once.
local requests = {}
local at = 0
init = function(args)
    for line in io.lines(args[1]) do
        requests[#requests + 1] = wrk.format("GET", "/v1/workloads/" .. line)
    end
end
request = function()
    at = at % #requests + 1
    return requests[at]
end
