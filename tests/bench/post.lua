-- Posts one small workload per request; the broker names it. The reserve is low so that money lasts.
local text

function init()
    text = wrk.format("POST", "/v1/workloads", { ["Content-Type"] = "application/json",
        ["Authorization"] = wrk.headers["Authorization"] },
        '{"image":"localhost/none:1","resources":{"device":{"count":1,"models":["rtx-4090"]}},' ..
        '"reserve_uusd_per_hour":6,"max_duration_s":600}')
end

function request()
    return text
end
