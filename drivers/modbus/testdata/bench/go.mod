module flexd/bench

go 1.26.0

require (
	flexd v0.0.0
	github.com/goburrow/modbus v0.1.0
	github.com/grid-x/modbus v0.0.0-20260701064235-82e41c9acfb6
	github.com/simonvetter/modbus v1.6.4
)

require (
	github.com/goburrow/serial v0.1.0 // indirect
	github.com/grid-x/serial v0.0.0-20211107191517-583c7356b3aa // indirect
)

replace flexd => ../../../..
