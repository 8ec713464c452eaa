package modbustest

import (
	"encoding/binary"
	"io"
	"net"
	"time"
)

// mistreat executes the request, answers it with a fault, and reports whether
// the connection goes on.
func mistreat(c net.Conn, q Seen, fault Fault, delay time.Duration, execute func(Seen) []byte) bool {
	//exhaustive:ignore
	switch fault {
	case HalfOpen:
		io.Copy(io.Discard, c)
		return false
	case Busy:
		return send(c, exception(q, 6))
	case Acknowledge:
		return send(c, exception(q, 5))
	case Illegal:
		return send(c, exception(q, 2))
	case Refuse:
		return send(c, exception(q, 3))
	case ResetBefore:
		return reset(c)
	default:
	}
	pdu := execute(q)
	if q.Func != pdu[0] {
		return send(c, frame(q, pdu)) // refused, by the server itself
	}
	//exhaustive:ignore
	switch fault {
	case Late:
		pause(delay)
	case Swallow:
		return true
	case Reset:
		return reset(c)
	case CloseBefore:
		return false
	case CloseAfter:
		send(c, frame(q, pdu))
		return false
	case GatewaySilent:
		return send(c, exception(q, 11))
	case Split:
		whole := frame(q, pdu)
		return send(c, whole[:len(whole)/2]) && pause(delay) && send(c, whole[len(whole)/2:])
	case Drip:
		return drip(c, frame(q, pdu))
	case Duplicate:
		return send(c, append(frame(q, pdu), frame(q, pdu)...))
	case EarlyAnswer:
		early := q
		early.Txid++
		wrong := append([]byte{}, pdu...)
		wrong[len(wrong)-1] ^= 0x55
		return send(c, append(frame(q, pdu), frame(early, wrong)...))
	default:
		return send(c, spoil(q, pdu, fault))
	}
	return send(c, frame(q, pdu))
}

// reset ends the connection without a farewell.
func reset(c net.Conn) bool {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	return false
}

// spoil builds the answer with a fault inside the frame, if there is one.
func spoil(q Seen, pdu []byte, fault Fault) []byte {
	//exhaustive:ignore
	switch fault {
	case Garbage:
		return []byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
	case ZeroLength:
		return append(header(q, 0), pdu...)
	case HugeLength:
		return append(header(q, 0xFFFF), pdu...)
	case WrongProto:
		whole := frame(q, pdu)
		whole[3] = 1
		return whole
	case WrongTxid:
		q.Txid ^= 0x5A5A
	case WrongUnit:
		q.Unit ^= 0x10
	case WrongFunc:
		pdu[0] = map[byte]byte{3: 4, 4: 3, 6: 16, 16: 6}[pdu[0]]
	case BareException:
		pdu = []byte{q.Func | 0x80}
	case Clamp:
		if q.Func == 6 {
			binary.BigEndian.PutUint16(pdu[3:], q.Values[0]/2)
		}
	default:
		pdu = miscount(q, pdu, fault)
	}
	return frame(q, pdu)
}

// miscount makes the data shorter or longer; a write's answer loses or gains
// bytes the same way.
func miscount(q Seen, pdu []byte, fault Fault) []byte {
	isRead := q.Func == 3 || q.Func == 4
	//exhaustive:ignore
	switch fault {
	case ShortCount:
		pdu = pdu[:len(pdu)-2]
		if isRead {
			pdu[1] -= 2
		}
	case LongCount:
		pdu = append(pdu, 0xDE, 0xAD)
		if isRead {
			pdu[1] += 2
		}
	case ZeroCount:
		pdu = []byte{q.Func, 0}
	case LyingCount:
		pdu = pdu[:len(pdu)-2]
	default:
	}
	return pdu
}

// execute does what the request says and returns the right answer.
func (s *Server) execute(q Seen) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch q.Func {
	case 3, 4:
		pdu := []byte{q.Func, byte(2 * q.Count)}
		for i := range q.Count {
			pdu = binary.BigEndian.AppendUint16(pdu, s.regs[q.Addr+uint16(i)])
		}
		return pdu
	case 6, 16:
		for i, v := range q.Values {
			s.regs[q.Addr+uint16(i)] = v
		}
		pdu := binary.BigEndian.AppendUint16([]byte{q.Func}, q.Addr)
		if q.Func == 6 {
			return binary.BigEndian.AppendUint16(pdu, q.Values[0])
		}
		return binary.BigEndian.AppendUint16(pdu, uint16(q.Count))
	default:
		return []byte{q.Func | 0x80, 1}
	}
}

func exception(q Seen, code byte) []byte {
	return frame(q, []byte{q.Func | 0x80, code})
}

func header(q Seen, length uint16) []byte {
	h := binary.BigEndian.AppendUint16(nil, q.Txid)
	h = append(h, 0, 0)
	h = binary.BigEndian.AppendUint16(h, length)
	return append(h, q.Unit)
}

func frame(q Seen, pdu []byte) []byte {
	return append(header(q, uint16(len(pdu)+1)), pdu...)
}

func send(c net.Conn, b []byte) bool {
	_, err := c.Write(b)
	return err == nil
}

func drip(c net.Conn, b []byte) bool {
	for i := range b {
		if !send(c, b[i:i+1]) || !pause(2*time.Millisecond) {
			return false
		}
	}
	return true
}

func pause(d time.Duration) bool {
	time.Sleep(d)
	return true
}
