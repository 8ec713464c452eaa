package series

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func mustOpen(t *testing.T, path string, o Options) *DB {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	db, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// quick opens a file that is written without waiting for the disk.
func quick(t *testing.T, path string, o Options) *DB {
	db := mustOpen(t, path, o)
	db.bolt.NoSync, db.bolt.NoGrowSync = true, true
	return db
}

// next is a row with the next number and a blob of its own.
func next(db *DB, size int) Row {
	epoch, seq := db.Next()
	blob := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{byte(seq), byte(seq >> 8)})
	_, _ = rng.Read(blob)
	return Row{Epoch: epoch, Seq: seq, At: time.Unix(int64(seq), 0).UTC(), Blob: blob}
}

func add(t *testing.T, db *DB, rows ...Row) {
	t.Helper()
	if _, err := db.Append(t.Context(), rows, nil); err != nil {
		t.Fatal(err)
	}
}

func bounds(t *testing.T, db *DB) (low, high uint64) {
	t.Helper()
	low, high, err := db.Bounds()
	if err != nil {
		t.Fatal(err)
	}
	return low, high
}

// Rows of any size are kept up to the bound of the file, through up to a
// hundred times of it: the newest stay, the oldest go, a few at a time.
func TestTheRingIsBoundedByBytes(t *testing.T) {
	const bound = 2 << 20
	times := map[string]int{"rows of 15 KB": 100, "rows of 60 KB": 40}
	for name, size := range map[string]func(n int) int{
		"rows of 1 KB":          func(int) int { return 1000 },
		"rows of 15 KB":         func(int) int { return 15_000 },
		"rows of 60 KB":         func(int) int { return 60_000 },
		"rows of every size":    func(n int) int { return n * 7919 % 60_000 },
		"large after small":     func(n int) int { return 100 + n/10 },
		"small after large":     func(n int) int { return max(500, 60_000-n*20) },
		"one large among small": func(n int) int { return 200 + n%97/96*150_000 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "series.db")
			db := quick(t, path, Options{MaxSize: bound})
			total, wasLow := 0, uint64(0)
			for n := 0; total < max(8, times[name])*bound && n < 30_000; n += 8 {
				var rows []Row
				for i := range 8 {
					rows = append(rows, next(db, size(n+i)))
					total += size(n + i)
				}
				add(t, db, rows...)
				if n%256 != 0 {
					continue
				}
				low, high := bounds(t, db)
				if high != rows[7].Seq {
					t.Fatalf("the newest is %d, not %d", high, rows[7].Seq)
				}
				if wasLow > 0 && low > wasLow+(high-wasLow)/2+256 {
					t.Fatalf("at %d the oldest went from %d to %d: not a few at a time", high, wasLow, low)
				}
				wasLow = low
			}
			if info, err := os.Stat(path); err != nil || info.Size() > bound || info.Size() < bound/2 {
				t.Fatalf("the file has %v bytes of %d, %v", info.Size(), bound, err)
			}
			low, high := bounds(t, db)
			rows, err := db.From(t.Context(), low, 1<<20)
			if err != nil || uint64(len(rows)) != high-low+1 || low == 1 {
				t.Fatalf("%d rows from %d to %d, %v", len(rows), low, high, err)
			}
			kept := 0
			for i, r := range rows {
				kept += len(r.Blob)
				if r.Seq != low+uint64(i) || len(r.Blob) != size(int(r.Seq-1)) {
					t.Fatalf("row %d has %d bytes", r.Seq, len(r.Blob))
				}
			}
			if kept < bound/4 {
				t.Errorf("%d bytes are kept of a bound of %d", kept, bound)
			}
			down, err := db.Down(t.Context(), high, low+1, 1<<20)
			if err != nil || len(down) != len(rows)-1 || down[0].Seq != high || !bytes.Equal(down[0].Blob, rows[len(rows)-1].Blob) {
				t.Errorf("%d rows downwards, %v", len(down), err)
			}
		})
	}
}

// What a site with many devices has to keep fits with room to spare, at two
// bytes a sample.
func TestDaysOfManyDevicesAreKept(t *testing.T) {
	for name, c := range map[string]struct{ devices, hours int }{
		"20 devices for 72 hours": {20, 72}, "64 devices for 24 hours": {64, 24},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "series.db")
			db := quick(t, path, Options{})
			want := c.hours * 60
			for n := 0; n < want; n += 10 {
				var rows []Row
				for range 10 {
					rows = append(rows, next(db, c.devices*60*2))
				}
				add(t, db, rows...)
			}
			low, high := bounds(t, db)
			if low != 1 || high != uint64(want) {
				t.Errorf("kept %d to %d of %d", low, high, want)
			}
			if info, err := os.Stat(path); err != nil || info.Size() > DefaultMaxSize/2 {
				t.Errorf("the file has %d bytes, %v", info.Size(), err)
			}
		})
	}
}

func TestTheDefaultBoundIsWhatTheFileReaches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "series.db")
	db := quick(t, path, Options{})
	for range 120 {
		add(t, db, next(db, 500_000), next(db, 500_000))
	}
	if info, err := os.Stat(path); err != nil || info.Size() > DefaultMaxSize || info.Size() < DefaultMaxSize-4<<20 {
		t.Errorf("the file has %d bytes of %d, %v", info.Size(), DefaultMaxSize, err)
	}
}

func TestARowThatIsTooLargeIsRefusedAlone(t *testing.T) {
	db := mustOpen(t, filepath.Join(t.TempDir(), "series.db"), Options{MaxSize: 4 << 20, MaxRow: 10_000})
	_, err := db.Append(t.Context(), []Row{next(db, 10), next(db, 10_001), next(db, 10_000)}, map[string][]byte{"reader": []byte("x")})
	if large := (*TooLargeError)(nil); !errors.As(err, &large) || large.Size != 10_001 {
		t.Errorf("%v", err)
	}
	rows, err := db.From(t.Context(), 0, 10)
	if err != nil || len(rows) != 2 || rows[0].Seq != 1 || rows[1].Seq != 3 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	if m, err := db.Mark("reader"); err != nil || string(m) != "x" {
		t.Errorf("mark %q, %v", m, err)
	}
}

func TestNumbersAndEpochGoOnAfterAnOrderlyEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "series.db")
	db := mustOpen(t, path, Options{Run: "1"})
	r := next(db, 10)
	add(t, db, r)
	_, _ = db.Next() // of a row that was refused, say
	_ = db.Close()
	db = mustOpen(t, path, Options{Run: "2", Last: "1"})
	if epoch, seq := db.Next(); epoch != r.Epoch || seq != 3 {
		t.Errorf("%s/%d after %s/1 and 2", epoch, seq, r.Epoch)
	}
}

// Whatever happened to a file, no number of an epoch is given twice.
func TestNumbersNeverRepeat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "series.db")
	given := map[string]bool{}
	run := 0
	use := func(db *DB) {
		for range 5 {
			r := next(db, 10)
			if given[fmt.Sprint(r.Epoch, r.Seq)] {
				t.Fatalf("%s/%d was given before, run %d", r.Epoch, r.Seq, run)
			}
			given[fmt.Sprint(r.Epoch, r.Seq)] = true
			if r.Seq%2 == 0 {
				add(t, db, r)
			}
		}
	}
	begin := func() *DB {
		run++
		return mustOpen(t, path, Options{Run: fmt.Sprint(run), Last: fmt.Sprint(run - 1)})
	}
	stop := func(db *DB) { // as a kill does
		db.use.Lock()
		defer db.use.Unlock()
		_ = db.bolt.Close()
	}
	db := begin()
	use(db)
	stop(db)
	db = begin() // after a kill
	use(db)
	_ = db.Close()
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	db = begin() // in good order
	use(db)
	_ = db.Close()
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	db = begin() // after a copy of an earlier run was put in its place
	use(db)
	_ = db.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	db = begin() // after it was lost
	use(db)
	_ = db.Close()
	if err := os.WriteFile(path, bytes.Repeat([]byte("no database "), 2000), 0o600); err != nil {
		t.Fatal(err)
	}
	use(begin()) // after it was damaged
}

func TestRowsKeepTheirEpoch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "series.db")
	var want []string
	for range 3 {
		db := mustOpen(t, path, Options{Run: "x", Last: "y"})
		rows := []Row{next(db, 5), next(db, 5)}
		add(t, db, rows...)
		want = append(want, rows[0].Epoch, rows[1].Epoch)
		_ = db.Close()
	}
	rows, err := mustOpen(t, path, Options{}).From(t.Context(), 0, 10)
	if err != nil || len(rows) != 6 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, r := range rows {
		if r.Epoch != want[i] || i > 1 && r.Epoch == rows[i-2].Epoch {
			t.Errorf("row %d is of epoch %s, not %s", r.Seq, r.Epoch, want[i])
		}
	}
}

// A file of the layout without epochs keeps its rows, and gets an epoch.
func TestAnOlderFileIsBroughtOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "series.db")
	b, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: pageSize, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = b.Update(func(tx *bbolt.Tx) error {
		old, _ := tx.CreateBucket(bOld)
		for n := uint64(11); n <= 210; n++ {
			v := append(binary.BigEndian.AppendUint64(nil, uint64(time.Unix(int64(n), 0).UnixNano())), fmt.Sprintf(`{"n":%d}`, n)...)
			if err := old.Put(binary.BigEndian.AppendUint64(nil, n), v); err != nil {
				return err
			}
		}
		return old.Put([]byte("short"), nil)
	})
	if err := errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	db := mustOpen(t, path, Options{})
	rows, err := db.From(t.Context(), 0, 1000)
	if err != nil || len(rows) != 200 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, r := range rows {
		if n := i + 11; r.Seq != uint64(n) || r.Epoch == "" || r.Epoch != rows[0].Epoch || r.At.Unix() != int64(n) || string(r.Blob) != fmt.Sprintf(`{"n":%d}`, n) {
			t.Fatalf("%+v", r)
		}
	}
	if epoch, seq := db.Next(); seq != 211 || epoch == rows[0].Epoch || epoch == "" {
		t.Errorf("the next is %s/%d", epoch, seq)
	}
}

// filled is a file of 40 rows.
func filled(t *testing.T) (path string, size int64) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "series.db")
	db := mustOpen(t, path, Options{})
	for range 40 {
		add(t, db, next(db, 3000))
	}
	_ = db.Close()
	return path, int64(fileSize(path))
}

func rowsOf(t *testing.T, path string) int {
	t.Helper()
	list, err := mustOpen(t, path, Options{}).From(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestAPassingErrorCondemnsNoFile(t *testing.T) {
	path, _ := filled(t)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: old.Max}); err != nil {
		t.Skip("NOT TESTED: the limit of open files cannot be set: ", err)
	}
	_, err := Open(path, Options{Log: slog.New(slog.DiscardHandler)})
	if serr := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); serr != nil {
		t.Fatal(serr)
	}
	if err == nil {
		t.Fatal("it opens without a descriptor")
	}
	if n := rowsOf(t, path); n != 40 {
		t.Errorf("%d rows are left", n)
	}
}

func TestAFileThatIsCutShortIsMadeAnew(t *testing.T) {
	path, size := filled(t)
	if err := os.Truncate(path, size/8); err != nil {
		t.Fatal(err)
	}
	if n := rowsOf(t, path); n != 0 {
		t.Errorf("%d rows", n)
	}
}

func TestAFileThatIsCutShortWhileItIsOpenIsMadeAnew(t *testing.T) {
	path, _ := filled(t)
	db := mustOpen(t, path, Options{})
	epoch, seq := db.Next()
	db.giveBack()
	if err := os.Truncate(path, 3*pageSize); err != nil {
		t.Fatal(err)
	}
	if _, err := db.From(t.Context(), 0, 100); err == nil {
		t.Fatal("it can be read")
	}
	if again, n := db.Next(); again != epoch || n != seq+1 {
		t.Errorf("the numbers do not go on: %s/%d", again, n)
	}
	add(t, db, next(db, 100))
	if list, err := db.From(t.Context(), 0, 100); err != nil || len(list) != 1 || list[0].Epoch != epoch {
		t.Errorf("%d rows, %v", len(list), err)
	}
}

func TestARowWithAFlippedBitIsLeftOutAlone(t *testing.T) {
	path, _ := filled(t)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := next(&DB{epoch: "x", seq: 19}, 3000) // the blob of row 20
	at := bytes.LastIndex(raw, want.Blob[100:200])
	if at < 0 {
		t.Fatal("the row is not in the file")
	}
	for ; at >= 0; at = bytes.Index(raw, want.Blob[100:200]) {
		raw[at] ^= 1 // in every copy
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := rowsOf(t, path); n != 39 {
		t.Errorf("%d rows are left of 39", n)
	}
}

func TestAFileIsReadWithoutAnAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "series.db")
	log := slog.New(slog.DiscardHandler)
	db := mustOpen(t, path, Options{})
	add(t, db, next(db, 5000))
	if _, err := OpenForReading(path, log); err == nil {
		t.Error("it opens while another has it")
	}
	_ = db.Close()
	db, err := OpenForReading(path, log)
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := db.From(t.Context(), 0, 5); err != nil || len(rows) != 1 || len(rows[0].Blob) != 5000 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenForReading(path+".none", log); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := os.Stat(path + ".none"); err == nil {
		t.Error("it was made")
	}
}
