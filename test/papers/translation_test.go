package papers

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A reader of the translation must be able to do and to look up what a reader of
// the original can; sentences are the translator's.
func TestATranslationKeepsStepWithItsOriginal(t *testing.T) {
	translations := files(t, "*.zh.md")
	if len(translations) < 2 {
		t.Fatalf("the translations are %q; where are README.zh.md and docs/guide.zh.md?", translations)
	}
	for _, translation := range translations {
		original := untranslated(translation)
		if difference := firstDifference(original, read(t, original), translation, read(t, translation)); difference != "" {
			t.Error(difference)
		}
	}
}

func TestTheFirstDifferenceOfATranslationIsNamed(t *testing.T) {
	const original = "# Title\n\n[中文](a.zh.md)\n\n## Use\n\n    make it     # how\n\n| key | |\n|---|---|\n| `mtu` | in bytes, [why](b.md#mtu) |\n| 7 | wrong |\n| all of `x` | yes |\n\n```\n# ip a\n1: lo\n```\n"
	const faithful = "# 标题\n\n[English](a.md)\n\n## 用法\n\n    make it     # 说明\n\n| 键 | |\n|---|---|\n| `mtu` | 字节，[原因](b.md) |\n| 7 | 有误 |\n| `x` 的全部 | 是 |\n\n```\n# ip a\n1: lo\n```\n"
	for name, change := range map[string]struct{ old, new, want string }{
		"nothing":               {"", "", ""},
		"another sentence":      {"字节", "单位是字节", ""},
		"a command":             {"make it ", "make that ", "a.md:7 has the line of code `make it`, a.zh.md:7 has the line of code `make that`"},
		"the rest of a block":   {"1: lo\n", "", "a.md:17 has the line of code `1: lo`, a.zh.md has ended"},
		"the depth of a title":  {"## 用法", "### 用法", "a.md:5 has a heading of depth 2, a.zh.md:5 has a heading of depth 3"},
		"a heading more":        {"## 用法", "## 介绍\n\n## 用法", "a.md:7 has a block of code, a.zh.md:7 has a heading of depth 2"},
		"a key":                 {"`mtu`", "`MTU`", "a.md:11 has a row for `mtu`, a.zh.md:11 has a row for `MTU`"},
		"a code":                {"| 7 |", "| 8 |", "a.md:12 has a row for `7`, a.zh.md:12 has a row for `8`"},
		"a row less":            {"| 7 | 有误 |\n", "", "a.md:12 has a row for `7`, a.zh.md:12 has a row for `x`"},
		"a word of code":        {"| `x` 的全部", "| `y` 的全部", "a.md:13 has a row for `x`, a.zh.md:13 has a row for `y`"},
		"a link":                {"[原因](b.md)", "原因", "a.md leads to b.md more often (1) than a.zh.md (0)"},
		"a link to another":     {"[原因](b.md)", "[原因](c.md)", "a.md leads to b.md more often (1) than a.zh.md (0)"},
		"a link more":           {"字节", "[字节](c.md)", "a.zh.md leads to c.md more often (1) than a.md (0)"},
		"a link to translation": {"(b.md)", "(b.zh.md)", ""},
		"something at the end":  {"1: lo\n```\n", "1: lo\n```\n\n## 附录\n", "a.md has ended, a.zh.md:20 has a heading of depth 2"},
	} {
		t.Run(name, func(t *testing.T) {
			if have := firstDifference("a.md", original, "a.zh.md", strings.Replace(faithful, change.old, change.new, 1)); have != change.want {
				t.Errorf("have %q\nwant %q", have, change.want)
			}
		})
	}
}

// Commands behind a prompt are what `make guide` has run, to the letter.
func TestTheGuideHasNoPromptThatItsReplayHasNot(t *testing.T) {
	const page = "docs/guide.md"
	prompts := regexp.MustCompile(`(?m)^root@.*$`).FindAllString(read(t, page), -1)
	if len(prompts) < 10 {
		t.Errorf("%s has %d commands behind a prompt", page, len(prompts))
	}
	for _, replay := range []string{"docs/guide-replay-shared.md", "docs/guide-replay-exclusive.md"} {
		replayed := strings.Split(read(t, replay), "\n")
		for _, prompt := range prompts {
			if !slices.Contains(replayed, prompt) {
				t.Errorf("%s has %q, which %s has not", page, prompt, replay)
			}
		}
	}
}

// What the guide shows of a manifest is what its reader applies.
func TestTheGuideShowsItsExamplesAsTheyAre(t *testing.T) {
	const page = "docs/guide.md"
	shown := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(read(t, page), -1)
	if len(shown) != 2 {
		t.Fatalf("%s shows %d manifests, not a network and a pod", page, len(shown))
	}
	for i, file := range []string{"deployments/examples/guide-networks.yaml", "deployments/examples/guide-pods.yaml"} {
		if !strings.Contains(read(t, file), shown[i][1]) {
			t.Errorf("%s shows as part of %s what is not in it:\n%s", page, file, shown[i][1])
		}
	}
}

// A part is what a translation has in common with its original.
type part struct {
	line int
	what string
}

// parts are a page's headings, blocks of code and tables, in their order.
func parts(text string) (all []part) {
	var (
		fenced, indented bool
		before           string // the line before
		comment          = regexp.MustCompile(`\s+# .*$`)
		heading          = regexp.MustCompile(`^(#+) `)
		ruler            = regexp.MustCompile(`^\|(-+\|)+$`)
	)
	for i, line := range strings.Split(text, "\n") {
		add := func(format string, args ...any) { all = append(all, part{i + 1, fmt.Sprintf(format, args...)}) }
		bare := strings.TrimSpace(line)
		fence := strings.HasPrefix(bare, "```")
		was := indented
		// A blank line does not end an indented block.
		indented = !fenced && strings.HasPrefix(line, "    ") && (before == "" || was) || was && bare == ""
		switch {
		case fence:
			if fenced = !fenced; fenced {
				add("a block of code")
			}
		case fenced || indented:
			if indented && !was {
				add("a block of code")
			}
			if code := comment.ReplaceAllString(bare, ""); code != "" {
				add("the line of code `%s`", code)
			}
		case heading.MatchString(line):
			add("a heading of depth %d", len(heading.FindStringSubmatch(line)[1]))
		case ruler.MatchString(line):
			add("a table of %d columns", strings.Count(line, "|")-1)
		case strings.HasPrefix(line, "|"):
			add("a row for `%s`", strings.Join(names(line), " "))
		}
		before = bare
	}
	return all
}

// names are what nobody translates in the first cell of a row: code, and numbers
// that stand alone.
func names(row string) (all []string) {
	cell := strings.TrimSpace(strings.Split(row, "|")[1])
	if regexp.MustCompile(`^\d+(, \d+)*$`).MatchString(cell) {
		return []string{cell}
	}
	for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		all = append(all, span[1])
	}
	return all
}

// untranslated is the original of a page: the page, if it is no translation.
func untranslated(page string) string {
	if stem, ok := strings.CutSuffix(page, ".zh.md"); ok {
		return stem + ".md"
	}
	return page
}

// leads counts the links to each page. A translation may lead to translations,
// whose headings have other anchors.
func leads(text string) map[string]int {
	count := map[string]int{}
	for _, match := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
		file, _, _ := strings.Cut(match[1], "#")
		count[untranslated(file)]++
	}
	return count
}

// firstDifference says in a sentence where a translation leaves its original;
// it is empty if nowhere.
func firstDifference(original, text, translation, translated string) string {
	want, have := parts(text), parts(translated)
	for i := range max(len(want), len(have)) {
		if i < len(want) && i < len(have) && want[i].what == have[i].what {
			continue
		}
		return where(original, want, i) + ", " + where(translation, have, i)
	}
	there, here := leads(text), leads(translated)
	for _, page := range sorted(there, here) {
		switch {
		case there[page] > here[page]:
			return fmt.Sprintf("%s leads to %s more often (%d) than %s (%d)", original, page, there[page], translation, here[page])
		case there[page] < here[page]:
			return fmt.Sprintf("%s leads to %s more often (%d) than %s (%d)", translation, page, here[page], original, there[page])
		}
	}
	return ""
}

// where says what a page has as its part i.
func where(page string, parts []part, i int) string {
	if i >= len(parts) {
		return page + " has ended"
	}
	return fmt.Sprintf("%s:%d has %s", page, parts[i].line, parts[i].what)
}

// sorted are the keys of some counts, each once.
func sorted(counts ...map[string]int) (keys []string) {
	for _, count := range counts {
		for key := range count {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
