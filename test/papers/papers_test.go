// Package papers checks what is written about the repository, and the
// configuration of the forge that it lives on, against what is there.
package papers

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

// root is the repository, from here.
const root = "../.."

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// files are those of the repository that match a pattern of git's.
func files(t *testing.T, pattern string) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", pattern)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skip("not in the source tree: ", err)
	}
	return strings.Fields(string(out))
}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range files(t, "*.md") {
		for _, match := range link.FindAllStringSubmatch(read(t, page), -1) {
			file, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			to := page
			if file != "" {
				to = path.Join(path.Dir(page), file)
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s leads to %s: %v", page, match[1], err)
			} else if anchor != "" && !slices.Contains(anchors(read(t, to)), anchor) {
				t.Errorf("%s leads to %s, which has no such heading", page, match[1])
			}
		}
	}
}

// anchors are what a forge makes of a page's headings.
func anchors(text string) (all []string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		words := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		all = append(all, strings.ReplaceAll(words, " ", "-"))
	}
	return all
}

// The architecture names code as `Function` of `file.go`: what is moved or
// renamed there must be updated here.
func TestTheArchitectureNamesCodeThatIsThere(t *testing.T) {
	const page = "docs/architecture.md"
	text := read(t, page)
	reference := regexp.MustCompile("`([A-Za-z.]+)`\\s+(?:of|in)\\s+`((?:pkg|cmd)/[a-z0-9/_-]+\\.go)`")
	found := reference.FindAllStringSubmatch(text, -1)
	if len(found) < 10 {
		t.Errorf("%s names %d functions; what says the first table?", page, len(found))
	}
	for _, match := range found {
		if !slices.Contains(declared(t, match[2]), match[1]) {
			t.Errorf("%s has %s of %s, which is not there", page, match[1], match[2])
		}
	}
	for _, folder := range regexp.MustCompile("`((?:pkg|cmd|test)/[a-z0-9/_-]+)`").FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join(root, folder[1])); err != nil {
			t.Errorf("%s: %v", page, err)
		}
	}
}

// declared are the functions, types and methods (Type.Method) of a file.
func declared(t *testing.T, file string) (names []string) {
	t.Helper()
	source, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range source.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				receiver := d.Recv.List[0].Type
				if pointer, ok := receiver.(*ast.StarExpr); ok {
					receiver = pointer.X
				}
				name = fmt.Sprint(receiver) + "." + name
			}
			names = append(names, name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if typ, ok := spec.(*ast.TypeSpec); ok {
					names = append(names, typ.Name.Name)
				}
			}
		}
	}
	return names
}

func TestEveryPackageHasItsRowInTheArchitecture(t *testing.T) {
	const page = "docs/architecture.md"
	var packages []string
	for _, file := range files(t, "pkg/*.go") {
		if folder := path.Dir(file); !slices.Contains(packages, folder) && !strings.Contains(folder, "testdata") {
			packages = append(packages, folder)
		}
	}
	document.Compare(t, page, document.FirstWords(t, filepath.Join(root, page), "| package | knows | must not know |"), packages)
}

func TestTheGuideHasEveryMakeTargetAndNoOther(t *testing.T) {
	const page = "docs/development.md"
	phony := regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindStringSubmatch(read(t, "Makefile"))
	targets := slices.DeleteFunc(strings.Fields(phony[1]), func(target string) bool { return target == "FORCE" })
	document.Compare(t, page, document.FirstWords(t, filepath.Join(root, page), "| target | takes | what it needs and does |"), targets)
}

// What the README promises of the CNI plugin is tried by some test with real
// namespaces.
func TestEveryKeyAndEveryErrorCodeHasATest(t *testing.T) {
	const page = "README.md"
	var tests string
	for _, file := range files(t, "test/*_test.go") {
		tests += read(t, file)
	}
	for _, key := range document.FirstWords(t, filepath.Join(root, page), "| key | default | meaning |") {
		if name := key[strings.LastIndex(key, ".")+1:]; !strings.Contains(tests, `"`+name+`"`) {
			t.Errorf("no test sets %s", key)
		}
	}
	for _, row := range document.Table(t, filepath.Join(root, page), "| code | what happened | what to do |") {
		for _, code := range regexp.MustCompile(`\d+`).FindAllString(row[0], -1) {
			if !regexp.MustCompile(`([!=]= |, |\{|\()` + code + `([,) :]|$)`).MatchString(tests) { // compared, or in a table
				t.Errorf("no test provokes error %s", code)
			}
		}
	}
}

// What an operator may meet has its entry in the runbook: every error code of the
// CNI plugin, every metric, and every line that is logged as more than news.

const runbook = "docs/runbook.md"

func TestTheRunbookHasEveryErrorCode(t *testing.T) {
	digits := regexp.MustCompile(`\d+`)
	var codes []string
	for _, row := range document.Table(t, filepath.Join(root, "README.md"), "| code | what happened | what to do |") {
		codes = append(codes, digits.FindAllString(row[0], -1)...)
	}
	slices.Sort(codes)
	var entries []string
	for _, heading := range regexp.MustCompile(`(?m)^### (\d+): `).FindAllStringSubmatch(read(t, runbook), -1) {
		entries = append(entries, heading[1])
	}
	document.Compare(t, runbook, entries, slices.Compact(codes)) // one code may have two causes
}

// A metric has an alarm, or is among those that need none.
func TestTheRunbookSaysOfEveryMetricWhetherItAlarms(t *testing.T) {
	for _, program := range []struct{ part, others, prefix, page, table string }{
		{"Alarms", "No alarm", "rdma_device_plugin_", "docs/device-plugin.md", "| metric | type | labels | |"},
		{"Alarms of the DRA driver", "No alarm of the driver", "rdma_dra_driver_", "docs/dra.md", "| metric of the driver | type | labels | |"},
	} {
		_, alarms, _ := strings.Cut(read(t, runbook), "\n## "+program.part+"\n")
		alarms, _, _ = strings.Cut(alarms, "\n## ")
		alarms, others, ok := strings.Cut(alarms, "\n### "+program.others+"\n")
		if !ok {
			t.Fatalf("%s has no %s, or does not say for what there is none", runbook, program.part)
		}
		metrics := document.Words(others)
		for _, heading := range regexp.MustCompile("(?m)^### `(.*)`$").FindAllStringSubmatch(alarms, -1) {
			name := strings.TrimPrefix(heading[1], program.prefix)
			metrics = append(metrics, name)
			if !regexp.MustCompile(`(?m)^    .*\b` + program.prefix + name + `(_count)?\b`).MatchString(alarms) {
				t.Errorf("%s: the alarm %s has no expression", runbook, heading[1])
			}
		}
		document.Compare(t, runbook, metrics, document.FirstWords(t, filepath.Join(root, program.page), program.table))
	}
}

func TestTheRunbookHasEveryWarningAndError(t *testing.T) {
	var entries []string
	for _, program := range []string{"roce-host-device", "rdma-device-plugin", "rdma-dra-driver"} {
		header := "| level | log line of " + program + " | what it means, and what to do |"
		for _, row := range document.Table(t, filepath.Join(root, runbook), header) {
			entries = append(entries, row[0]+" "+strings.Trim(row[1], "`"))
		}
	}
	document.Compare(t, runbook, entries, logged(t))
}

// logged are the lines that the programs log as warnings and errors, each once,
// with its level.
func logged(t *testing.T) (lines []string) {
	t.Helper()
	levels := map[string]string{"Warn": "WARN", "Error": "ERROR"}
	for _, file := range append(files(t, "pkg/*.go"), files(t, "cmd/*.go")...) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(source, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true // err.Error() has none
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || levels[method.Sel.Name] == "" {
				return true
			}
			if of, ok := method.X.(*ast.Ident); ok && of.Name != "log" {
				return true // a package's: http.Error, status.Error
			}
			text := beginning(call.Args[0])
			if text == "" {
				t.Errorf("%s logs a text that is not written there", file)
			}
			lines = append(lines, levels[method.Sel.Name]+" "+text)
			return true
		})
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// beginning is the string that an expression is, or begins with.
func beginning(e ast.Expr) string {
	if sum, ok := e.(*ast.BinaryExpr); ok {
		return beginning(sum.X)
	}
	text, ok := e.(*ast.BasicLit)
	if !ok || text.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(text.Value)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(s)
}

// The lanes of the forge do what .ci/run does, no more and no less.
func TestTheLanesAreTheCheck(t *testing.T) {
	var check []string
	for _, line := range regexp.MustCompile(`(?m)\bmake (\S+)$`).FindAllStringSubmatch(read(t, ".ci/run"), -1) {
		if parts := regexp.MustCompile(`(?m)^` + line[1] + `: ((?:[a-z]+(?:-[a-z]+)* ?)+)$`).FindStringSubmatch(read(t, "Makefile")); line[1] == "test" && parts != nil {
			check = append(check, strings.Fields(parts[1])...)
			continue
		}
		check = append(check, line[1])
	}
	var lanes []string
	for _, lane := range []string{"fast", "slow"} {
		var workflow struct {
			Jobs struct {
				Make struct {
					Strategy struct{ Matrix struct{ Target []string } }
				}
			}
		}
		if err := yaml.Unmarshal([]byte(read(t, ".github/workflows/"+lane+".yaml")), &workflow); err != nil {
			t.Fatal(err)
		}
		lanes = append(lanes, workflow.Jobs.Make.Strategy.Matrix.Target...)
	}
	document.Compare(t, "the lanes", lanes, check)
}

// Whoever follows a document or applies a manifest gets the version that the chart
// is of. docs/releasing.md says where it is set.
func TestEveryMentionOfAReleaseIsOfTheChartsVersion(t *testing.T) {
	chart := regexp.MustCompile(`(?m)^version: (\S+)$`).FindStringSubmatch(read(t, "deployments/chart/roce-k8s/Chart.yaml"))[1]
	if newest := regexp.MustCompile(`(?m)^## (\d\S*)$`).FindStringSubmatch(read(t, "CHANGELOG.md"))[1]; newest != chart {
		t.Errorf("the newest version of CHANGELOG.md is %s, the chart's %s", newest, chart)
	}
	mention := regexp.MustCompile(`ghcr\.io/roce-k8s/[a-z/-]+:v?(\d[\w.-]*\w)|roce-k8s/+deployments\S*\?ref=v(\S*\w)|["\s]roce-k8s:(\w+)|(?:appVersion: |app\.kubernetes\.io/version: "|roce-k8s --version |newTag: |make image VERSION=)(\d[\w.-]*\w)`)
	found := 0
	for _, pattern := range []string{"*.md", "*.yaml", "test/e2e/*.go", "pkg/*.go"} {
		for _, file := range files(t, pattern) {
			for _, match := range mention.FindAllStringSubmatch(read(t, file), -1) {
				found++
				if version := match[1] + match[2] + match[3] + match[4]; version != chart {
					t.Errorf("%s has %q, the chart is %s", file, match[0], chart)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d mentions; do they look different now?", found)
	}
}

// What builds the programs outside of Docker, in it, and what packs them.
func TestImagesAreBuiltWithOneGo(t *testing.T) {
	toolchain := regexp.MustCompile(`(?m)^toolchain go(\S+)$`)
	var versions []string
	for _, file := range files(t, "*go.mod") {
		for _, match := range toolchain.FindAllStringSubmatch(read(t, file), -1) {
			versions = append(versions, file+" "+match[1])
		}
	}
	image := regexp.MustCompile(`(?m)^FROM .*\bgolang:(\S+) `).FindStringSubmatch(read(t, "images/Dockerfile"))[1]
	document.Compare(t, "Go", versions, []string{"go.mod " + image, "images/oci/go.mod " + image, "release/go.mod " + image})
}

func TestRenovateKnowsEveryModule(t *testing.T) {
	var renovate struct {
		IgnorePresets []string
		IgnorePaths   []string
		PackageRules  []struct{ MatchFileNames []string }
	}
	if err := json.Unmarshal([]byte(read(t, ".github/renovate.json")), &renovate); err != nil {
		t.Fatal(err)
	}
	// Its recommended preset passes over what is below test/.
	if !slices.Contains(renovate.IgnorePresets, ":ignoreModulesAndTests") || len(renovate.IgnorePaths) > 0 {
		t.Error("Renovate passes over modules")
	}
	modules := files(t, "*go.mod")
	for _, module := range modules {
		rules := 0
		for _, rule := range renovate.PackageRules {
			if slices.ContainsFunc(rule.MatchFileNames, func(pattern string) bool { ok, _ := path.Match(pattern, module); return ok }) {
				rules++
			}
		}
		if rules == 0 && !strings.HasPrefix(module, "test/lint/") { // each linter by itself
			t.Errorf("no rule says when %s is updated", module)
		}
	}
	for _, rule := range renovate.PackageRules {
		for _, pattern := range rule.MatchFileNames {
			if !slices.ContainsFunc(modules, func(module string) bool { ok, _ := path.Match(pattern, module); return ok }) {
				t.Errorf("%s is no module", pattern)
			}
		}
	}
}
