package trust

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestTheExamplesOfRFC8785(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"section 3.2.2": {`{
       "numbers": [333333333.33333329, 1E30, 4.50,
                   2e-3, 0.000000000000000000000000001],
       "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
       "literals": [null, true, false]
     }`, `{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`},
		"section 3.2.3": {`{
       "\u20ac": "Euro Sign",
       "\r": "Carriage Return",
       "\ufb33": "Hebrew Letter Dalet With Dagesh",
       "1": "One",
       "\ud83d\ude00": "Emoji: Grinning Face",
       "\u0080": "Control",
       "\u00f6": "Latin Small Letter O With Diaeresis"
     }`, "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\"," +
			"\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}"},
		"empty containers":    {` { "a" : [ ] , "b" : { } } `, `{"a":[],"b":{}}`},
		"nested order":        {`{"b":[{"z":1,"y":2}],"a":"x"}`, `{"a":"x","b":[{"y":2,"z":1}]}`},
		"control characters":  {`"\u0000\b\t\n\f\r\u001f\u007f"`, "\"\\u0000\\b\\t\\n\\f\\r\\u001f\u007f\""},
		"nothing of HTML":     {`"<&>\u2028"`, "\"<&>\u2028\""},
		"the empty name":      {`{"a":1,"":0}`, `{"":0,"a":1}`},
		"minus zero":          {`[-0,-0.0,0e9]`, `[0,0,0]`},
		"a scalar":            {` true `, `true`},
		"no mended normality": {`"e\u0301"`, "\"e\u0301\""},
	} {
		got, err := JCS([]byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, c.want)
		}
	}
	got, err := JCS([]byte(`{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`))
	const section324 = "7b226c69746572616c73223a5b6e756c6c2c747275652c66616c73655d2c226e756d62657273223a5b3333333333333333332e333333333333332c31652b33302c342e352c302e3030322c31652d32375d2c22737472696e67223a22e282ac245c75303030665c6e4127425c225c5c5c5c5c222f227d"
	if err != nil || hex.EncodeToString(got) != section324 {
		t.Errorf("bytes of section 3.2.4: %v %x", err, got)
	}
}

// RFC 8785 appendix B: doubles by their bits.
func TestNumbersOfRFC8785(t *testing.T) {
	for bits, want := range map[uint64]string{
		0x0000000000000000: "0", 0x8000000000000000: "0",
		0x0000000000000001: "5e-324", 0x8000000000000001: "-5e-324",
		0x7fefffffffffffff: "1.7976931348623157e+308", 0xffefffffffffffff: "-1.7976931348623157e+308",
		0x4340000000000000: "9007199254740992", 0xc340000000000000: "-9007199254740992",
		0x4430000000000000: "295147905179352830000",
		0x44b52d02c7e14af5: "9.999999999999997e+22", 0x44b52d02c7e14af6: "1e+23", 0x44b52d02c7e14af7: "1.0000000000000001e+23",
		0x444b1ae4d6e2ef4e: "999999999999999700000", 0x444b1ae4d6e2ef4f: "999999999999999900000", 0x444b1ae4d6e2ef50: "1e+21",
		0x3eb0c6f7a0b5ed8c: "9.999999999999997e-7", 0x3eb0c6f7a0b5ed8d: "0.000001",
		0x41b3de4355555553: "333333333.3333332", 0x41b3de4355555554: "333333333.33333325",
		0x41b3de4355555555: "333333333.3333333", 0x41b3de4355555556: "333333333.3333334", 0x41b3de4355555557: "333333333.33333343",
		0xbecbf647612f3696: "-0.0000033333333333333333", 0x43143ff3c1cb0959: "1424953923781206.2",
	} {
		if got := ecmaNumber(math.Float64frombits(bits)); got != want {
			t.Errorf("%016x: %s, want %s", bits, got, want)
		}
		if got, err := JCS([]byte(want)); err != nil || string(got) != want {
			t.Errorf("%s is not canonical to itself: %s %v", want, got, err)
		}
	}
}

func TestJSONThatCannotBeSigned(t *testing.T) {
	for name, in := range map[string]string{
		"empty": "", "blank": " ", "cut short": `{"a":1`, "two values": "1 2", "text after": `{} x`, "not UTF-8": "\"\xff\"",
		"a name twice": `{"a":1,"b":{},"a":1}`, "a name twice, escaped": `{"a":1,"\u0061":2}`, "deep duplicate": `[{"x":{"y":1,"y":1}}]`,
		"lone high surrogate": `"\ud83d"`, "lone low surrogate": `"\ude00"`, "surrogates in reverse": `"\ude00\ud83d"`,
		"high surrogate and a letter": `"\ud83d\u0041"`, "high surrogate and an escape": `"\ud83d\n"`, "surrogate in a name": `{"\ud800":1}`,
		"too large": "1e309", "too small": "1e-400", "an integer between doubles": "9007199254740993", "its negative": "-9007199254740993",
		"a long integer": "12345678901234567890123", "a thousand digits": strings.Repeat("1", 1000), "leading zero": "01", "plus": "+1", "no fraction": "1.", "bare fraction": ".5",
		"NaN": "NaN", "Infinity": "-Infinity", "hexadecimal": "0x10", "no exponent": "1e", "lone minus": "-",
		"trailing comma": "[1,]", "trailing comma in an object": `{"a":1,}`, "no colon": `{"a" 1}`, "name is a number": `{1:1}`, "single quotes": `'a'`,
		"raw line break": "\"\n\"", "bad escape": `"\x41"`, "short escape": `"\u41"`, "signed escape": `"\u+041"`, "no end": `"abc`, "comment": "{}//", "word": "nul", "capital word": "True",
		"a zero byte": "\x00", "mark at the start": "\xef\xbb\xbf{}", "too deep": strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "too long": `"` + strings.Repeat("a", maxSigned) + `"`,
	} {
		if got, err := JCS([]byte(in)); err == nil {
			t.Errorf("%s: became %s", name, got)
		}
	}
}

func TestIntegersThatFitADoubleAreTaken(t *testing.T) {
	for in, want := range map[string]string{
		"9007199254740992": "9007199254740992", "9007199254740994": "9007199254740994", "100000000000000000000": "100000000000000000000",
		"1000000000000000000000": "1e+21", "295147905179352825856": "295147905179352830000", "-0": "0", "4e3": "4000",
	} {
		if got, err := JCS([]byte(in)); err != nil || string(got) != want {
			t.Errorf("%s: %s %v, want %s", in, got, err, want)
		}
	}
}

func TestOrderedFields(t *testing.T) {
	const in = `{"id":"i1","n":1.50,"e":1E3,"big":9007199254740993,"on":true,"none":null,"list":["a",2,false,null],"empty":[],
		"o":{"x":"deep","a/b~c":"odd"},"pipe":"a|b","end":"a|","start":"|b","comma":["a,b"],"nested":[[1]],"sig":"S","ä":"ü\u0041"}`
	for name, c := range map[string]struct {
		fields, sep string
		want        string // "!": refused
	}{
		"texts and numbers as written":        {"/id /n /e /big", "|", "i1|1.50|1E3|9007199254740993"},
		"booleans, null and missing":          {"/on /none /nowhere /id", "|", "true|||i1"},
		"a list of scalars":                   {"/list /empty", ";", "a,2,false,;"},
		"deep and escaped pointers":           {"/o/x /o/a~1b~0c /list/1", "\n", "deep\nodd\n2"},
		"escapes are decoded":                 {"/ä /id", "|", "üA|i1"},
		"one field needs no separator":        {"/pipe", "", "a|b"},
		"one field may hold the separator":    {"/pipe", "|", "a|b"},
		"a field that holds the separator":    {"/id /pipe", "|", "!"},
		"half a separator at a border":        {"/end /id", "||", "!"},
		"half a separator that stays legible": {"/id /start", "||", "i1|||b"},
		"a list joined by the separator":      {"/list /id", ",", "!"},
		"a comma inside a list":               {"/comma /id", "|", "!"},
		"an object":                           {"/o /id", "|", "!"},
		"a list of lists":                     {"/nested", "|", "!"},
		"no separator":                        {"/id /n", "", "!"},
		"the signature itself":                {"/id /sig", "|", "!"},
		"not a pointer":                       {"id", "|", "!"},
		"too many fields":                     {strings.TrimSpace(strings.Repeat("/id ", maxFields+1)), "|", "!"},
	} {
		form := Canon{Fields: strings.Fields(c.fields), Separator: c.sep, Signature: []string{"/sig"}}
		got, err := form.Bytes([]byte(in))
		if err != nil {
			got = []byte("!")
		}
		if string(got) != c.want {
			t.Errorf("%s: %q (%v), want %q", name, got, err, c.want)
		}
	}
}

func TestTheWholeInstructionWithoutItsSignature(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"the member goes":                {`{"signature":"S","b":1,"a":2}`, `{"a":2,"b":1}`},
		"so does a deep one":             {`{"a":{"sig":"S","x":[{"sig":"stays"}]}}`, `{"a":{"x":[{"sig":"stays"}]}}`},
		"whatever it is":                 {`{"signature":{"v":[1]},"a":1}`, `{"a":1}`},
		"without one nothing goes":       {`{"a":{}}`, `{"a":{}}`},
		"an item of a list stays":        {`{"l":[1,2]}`, `{"l":[1,2]}`},
		"the same name elsewhere stays":  {`{"o":{"signature":"x"}}`, `{"o":{"signature":"x"}}`},
		"a list is no instruction":       {`[]`, "!"},
		"nor is null":                    {`null`, "!"},
		"nor nothing":                    {``, "!"},
		"a name twice is not fit for it": {`{"a":1,"signature":"x","signature":"y"}`, "!"},
	} {
		got, err := Canon{Signature: []string{"/signature", "/a/sig", "/l/0"}}.Bytes([]byte(c.in))
		if err != nil {
			got = []byte("!")
		}
		if string(got) != c.want {
			t.Errorf("%s: %s (%v), want %s", name, got, err, c.want)
		}
	}
}

func FuzzJCS(f *testing.F) {
	for _, s := range []string{`{"b":[1e30,-0,0.1],"a":"\u20ac\ud83d\ude00"}`, `{"":null}`, `[9007199254740993]`, `"\ud800"`, `1e-7`, `{"a":1,"a":2}`} {
		f.Add([]byte(s), []byte(`{"a": 1.0}`))
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		a, errA := JCS(one)
		if errA != nil {
			return
		}
		again, err := JCS(a)
		if err != nil || !bytes.Equal(a, again) {
			t.Fatalf("%q: canonical form %q is not canonical: %q %v", one, a, again, err)
		}
		var v, w any
		if json.Unmarshal(one, &v) != nil || json.Unmarshal(a, &w) != nil || !reflect.DeepEqual(v, w) {
			t.Fatalf("%q: means another thing than %q", one, a)
		}
		b, errB := JCS(two)
		if errB != nil || json.Unmarshal(two, &w) != nil {
			return
		}
		if same := reflect.DeepEqual(v, w); same != bytes.Equal(a, b) {
			t.Fatalf("%q and %q: the same %v, canonical forms %q and %q", one, two, same, a, b)
		}
	})
}

func FuzzCanon(f *testing.F) {
	f.Add([]byte(`{"a":"x|y","b":[1,null]}`), []byte(`{"a":"x","b":"y"}`), "/a", "/b/0", "|")
	f.Add([]byte(`{"a":"x|","b":"y"}`), []byte(`{"a":"x","b":"|y"}`), "/a", "/b", "||")
	f.Fuzz(func(t *testing.T, one, two []byte, p, q, sep string) {
		form := Canon{Fields: []string{p, q}, Separator: sep, Signature: []string{"/s"}}
		a, errA := form.Bytes(one)
		b, errB := form.Bytes(two)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			return
		}
		for _, pointer := range []string{p, q} { // equal texts come from equal fields
			of := Canon{Fields: []string{pointer}, Signature: []string{"/s"}}
			x, errX := of.Bytes(one)
			y, errY := of.Bytes(two)
			if errX != nil || errY != nil || !bytes.Equal(x, y) {
				t.Fatalf("%q and %q sign alike as %q but differ at %q: %q %q", one, two, a, pointer, x, y)
			}
		}
	})
}
