module truename.range/stub

go 1.26.0
