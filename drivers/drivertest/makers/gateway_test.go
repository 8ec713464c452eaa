package makers

import (
	"context"
	"errors"
	"testing"
	"time"

	"flexd/drivers/modbus"
)

func gatewayStand(t *testing.T, o GatewayOptions) (*stand, *Kostal) {
	s, k := kostalStand(t, KostalOptions{})
	s.dev = NewGateway(k, o)
	return s, k
}

func TestGatewayRefuses(t *testing.T) {
	for _, code := range []byte{2, 3, 4} {
		s, _ := gatewayStand(t, GatewayOptions{MaxRead: 50, MaxReadCode: code})
		s.read(71, 40072, 50)
		_, got := s.do(modbus.Request{Unit: 71, Func: modbus.ReadHolding, Addr: 40072, Count: 51})
		s.code("51 registers", got, code)
	}
	s, _ := gatewayStand(t, GatewayOptions{Only6: true})
	s.code("function 16", s.writes(71, 1034, 0, 0), modbus.IllegalFunction)
	s.code("function 6", s.writes6(71, 40217, 50), 0)
}

func TestGatewayUnits(t *testing.T) {
	s, _ := gatewayStand(t, GatewayOptions{Unit: 71})
	for _, unit := range []byte{0, 71, 255} {
		if v := s.word(unit, 40070); v != 103 {
			t.Errorf("unit %d: %d", unit, v)
		}
	}
}

func TestGatewayMap(t *testing.T) {
	s, _ := gatewayStand(t, GatewayOptions{Shift: 1})
	if w := s.read(71, 40001, 2); w[0] != 0x5375 {
		t.Errorf("%#x at 40001", w)
	}
	s, _ = gatewayStand(t, GatewayOptions{Zeros: true})
	if w := s.read(71, 40370, 10); w[2] != 0 || w[3] != 0 {
		t.Errorf("%v around the end", w)
	}
	if w := s.read(71, 50000, 2); w[0] != 0 {
		t.Errorf("%v after the end", w)
	}
	if v := s.word(71, 40308); v != 802 {
		t.Errorf("the last model is %d", v)
	}
	if v := s.word(71, 1080); v != 2 {
		t.Errorf("1080 reads %d", v)
	}
}

func TestGatewaySlow(t *testing.T) {
	s, k := gatewayStand(t, GatewayOptions{Delay: 3 * time.Second, Patience: 2 * time.Second})
	_, err := s.dev.Do(context.Background(), modbus.Request{Unit: 71, Func: modbus.WriteMultiple, Addr: 1034, Values: pair(float(1000), true)})
	if !errors.Is(err, modbus.ErrUncertain) {
		t.Errorf("%v", err)
	}
	s.near("and it was done", k.Watts().Battery, 1000)
	waited := time.Duration(0)
	s, _ = gatewayStand(t, GatewayOptions{Delay: time.Second, Wait: func(d time.Duration) { waited += d }})
	res, _ := s.do(modbus.Request{Unit: 71, Func: modbus.ReadHolding, Addr: 1080, Count: 1})
	if res.Done.Sub(res.Sent) != time.Second || waited != time.Second {
		t.Errorf("%v, waited %v", res.Done.Sub(res.Sent), waited)
	}
}
