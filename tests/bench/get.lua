-- Reads workloads by id, one after another from the file named as argument.
local ids = {}
local at = 0
init = function(args)
    for line in io.lines(args[1]) do ids[#ids + 1] = "/v1/workloads/" .. line end
end
request = function()
    at = at % #ids + 1
    return wrk.format("GET", ids[at])
end
