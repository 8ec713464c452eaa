package local

import (
	"bufio"
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// tab is one page of a real browser, driven over its debugging protocol.
type tab struct {
	t    *testing.T
	conn *websocket.Conn
	id   int
}

// browser starts headless Chromium and opens a tab. Without Chromium the test
// is skipped aloud, but never where CI is set.
func browser(t *testing.T) *tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("chromium is not installed: make test-deps installs it")
		}
		t.Skip("SKIPPED: chromium is not installed, the page was not looked at")
	}
	cmd := exec.CommandContext(t.Context(), path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
		"--remote-debugging-port=0", "--remote-allow-origins=*", "--user-data-dir="+t.TempDir(), "about:blank")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{}) // all of its processes: they write to its folder until then
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); <-gone; _ = cmd.Wait() })
	found := make(chan string, 1)
	go func() { // to its end: its chatter must not fill the pipe
		defer close(gone)
		defer close(found)
		for sc := bufio.NewScanner(stderr); sc.Scan(); {
			if m := regexp.MustCompile(`DevTools listening on ws://([^/]+)/`).FindStringSubmatch(sc.Text()); m != nil {
				found <- m[1]
			}
		}
	}()
	host := <-found
	if host == "" {
		t.Fatal("chromium did not start")
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+host+"/json/new?about:blank", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var target struct {
		URL string `json:"webSocketDebuggerUrl"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&target); err != nil {
		t.Fatal(err)
	}
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), target.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &tab{t: t, conn: conn}
}

// call sends one command and decodes its result.
func (b *tab) call(method string, params map[string]any, result any) {
	b.t.Helper()
	b.id++
	_ = b.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	if err := b.conn.WriteJSON(map[string]any{"id": b.id, "method": method, "params": params}); err != nil {
		b.t.Fatal(err)
	}
	for {
		var m struct {
			ID     int             `json:"id"`
			Result json.RawMessage `json:"result"`
		}
		if err := b.conn.ReadJSON(&m); err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		if m.ID == b.id {
			if result != nil {
				if err := json.Unmarshal(m.Result, result); err != nil {
					b.t.Fatal(err)
				}
			}
			return
		}
	}
}

// eval runs a script and gives its string.
func (b *tab) eval(script string) string {
	b.t.Helper()
	var out struct {
		Result struct {
			Value string `json:"value"`
		} `json:"result"`
	}
	b.call("Runtime.evaluate", map[string]any{"expression": script}, &out)
	return out.Result.Value
}

func TestThePageInABrowser(t *testing.T) {
	b := browser(t)
	addr := open(t, scene())
	for _, tc := range []struct {
		name          string
		width, height int
	}{{"desktop", 1280, 1000}, {"phone", 390, 1400}} {
		t.Run(tc.name, func(t *testing.T) {
			b.t = t
			b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": tc.width, "height": tc.height, "deviceScaleFactor": 1, "mobile": tc.width < 500}, nil)
			b.call("Page.navigate", map[string]any{"url": addr + "/"}, nil)
			want := []string{"harwell-01", ">live<", "bat1", "controlled", "delivered", "disp-4711", "5.00 kW", "pre-flight at risk", `class="alarm">clock untrusted: it is 1h0m0s behind a.example`, "asset a is held by ann",
				"was 4.98 kW 5 min ago", `class="row dim"`, ">not known<", "its release is owed since", "was device_failed", "the site's limit",
				"the release was proven 95 s after it was due", "a: asked 5.000 kWh, delivered 4.900 kWh at meter grid", `data-line="target"`, `data-line="measured"`}
			missing := want
			for end := time.Now().Add(20 * time.Second); len(missing) > 0 && time.Now().Before(end); {
				dom := b.eval("document.documentElement.outerHTML")
				missing = slices.DeleteFunc(slices.Clone(want), func(w string) bool { return strings.Contains(dom, w) })
			}
			if len(missing) > 0 {
				t.Errorf("the page does not show %q", missing)
			}
			if wide := b.eval("String(document.documentElement.scrollWidth - document.documentElement.clientWidth)"); wide != "0" {
				t.Errorf("the page is %s px wider than the screen", wide)
			}
			img := b.picture(tc.name)
			if img.Bounds().Dx() != tc.width {
				t.Errorf("picture is %d wide, want %d", img.Bounds().Dx(), tc.width)
			}
			if n := colours(img); n < 20 {
				t.Errorf("the picture has %d colours: it is blank", n)
			}
		})
	}
}

// picture takes a screenshot; FLEXD_SHOTS names a folder to keep it in.
func (b *tab) picture(name string) image.Image {
	b.t.Helper()
	var shot struct {
		Data []byte `json:"data"`
	}
	b.call("Page.captureScreenshot", nil, &shot)
	if dir := os.Getenv("FLEXD_SHOTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".png"), shot.Data, 0o600); err != nil {
			b.t.Error(err)
		}
	}
	img, err := png.Decode(bytes.NewReader(shot.Data))
	if err != nil {
		b.t.Fatal(err)
	}
	return img
}

// colours counts distinct colours on a coarse grid.
func colours(img image.Image) int {
	seen := map[[3]uint32]bool{}
	for y := 0; y < img.Bounds().Dy(); y += 3 {
		for x := 0; x < img.Bounds().Dx(); x += 3 {
			r, g, b, _ := img.At(x, y).RGBA()
			seen[[3]uint32{r >> 11, g >> 11, b >> 11}] = true
		}
	}
	return len(seen)
}
