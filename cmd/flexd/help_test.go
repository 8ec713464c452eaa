package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// README links every topic, and each has a title and can be read at a site.
func TestEveryTopicIsLinkedAndRead(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(readme, []byte("\n")); n > 150 {
		t.Errorf("README has %d lines, at most 150: what is more belongs into a topic", n)
	}
	names, titles := topicList()
	if len(names) < 10 {
		t.Fatalf("topics %v", names)
	}
	for i, name := range names {
		if !bytes.Contains(readme, []byte("(cmd/flexd/help/"+name+".md)")) {
			t.Errorf("README does not link %s", name)
		}
		var out, wrong bytes.Buffer
		if code := help([]string{name}, &out, &wrong); code != exitDone || !strings.Contains(out.String(), "# "+titles[i]+"\n") || wrong.Len() > 0 {
			t.Errorf("flexd help %s: exit %d, %q", name, code, wrong.String())
		}
	}
	var out, wrong bytes.Buffer
	if code := help([]string{"../main"}, &out, &wrong); code != exitUsage {
		t.Errorf("a topic outside of its folder: exit %d", code)
	}
}
