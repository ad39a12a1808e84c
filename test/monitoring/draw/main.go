// Command draw shows what a Prometheus answers to the queries of the dashboard,
// on a page that a browser draws.
//
//	draw page DASHBOARD UPLOT     a page; UPLOT is the folder of uPlot's files
//	draw alerts FILE              a rule file of a PrometheusRule
package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	prometheus = "http://127.0.0.1:9090/api/v1/"
	longest    = 30 * time.Minute // of a story
	step       = 5                // seconds between two points of a line
)

//go:embed page.html
var pageText string

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "page":
		err = page(os.Args[2], os.Args[3], os.Stdout)
	case len(os.Args) == 3 && os.Args[1] == "alerts":
		err = alerts(os.Args[2], os.Stdout)
	default:
		err = errors.New("usage: draw page DASHBOARD UPLOT, or draw alerts FILE")
	}
	if err != nil {
		log.Fatal(err)
	}
}

func alerts(file string, out io.Writer) error {
	var object struct {
		Spec any `json:"spec"`
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(b, &object); err != nil {
		return err
	}
	spec, err := yaml.Marshal(object.Spec)
	if err != nil {
		return err
	}
	_, err = out.Write(spec)
	return err
}

// A panel is one of Grafana's, with the answers to its queries.
type panel struct {
	Title   string
	Type    string
	Targets []struct{ Expr, LegendFormat string }

	FieldConfig struct{ Defaults struct{ Unit string } }

	Series []series   `json:"-"`
	Rows   [][]string `json:"-"` // of a table, the header first
}

// A series is a line.
type series struct {
	Name   string       `json:"name"`
	Points [][2]float64 `json:"points"` // seconds, value
}

// page draws the last minutes, as long as there was anything.
func page(dashboard, uplot string, out io.Writer) error {
	var d struct{ Panels []*panel }
	b, err := os.ReadFile(dashboard)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return err
	}
	end := time.Now()
	begin := end.Add(-longest)
	var up answer
	if err := ask("query_range", `rdma_device_plugin_build_info`, begin, end, &up); err != nil {
		return err
	}
	if len(up.Result) == 0 {
		return errors.New("nothing of the device plugin is in Prometheus")
	}
	first, last := up.span()
	begin, end = time.Unix(first, 0), time.Unix(last, 0)
	var shown []*panel
	var silent []string
	for _, p := range d.Panels {
		if p.Type != "row" {
			if err := p.ask(begin, end); err != nil {
				return fmt.Errorf("%s: %w", p.Title, err)
			}
			if len(p.Series)+len(p.Rows) == 0 {
				silent = append(silent, p.Title)
				continue
			}
		}
		shown = append(shown, p)
	}
	read := func(name string) (string, error) {
		b, err := os.ReadFile(filepath.Join(uplot, name))
		return string(b), err
	}
	script, err := read("uPlot.iife.min.js")
	if err != nil {
		return err
	}
	style, err := read("uPlot.min.css")
	if err != nil {
		return err
	}
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return err
	}
	panels, height, err := layout(shown)
	if err != nil {
		return err
	}
	return t.Execute(out, map[string]any{
		"Script": template.JS(script), "Style": template.CSS(style), "Panels": panels, "Silent": strings.Join(silent, ", "),
		"Begin": begin.Unix(), "End": end.Unix(), "Step": step, "Bottom": height, "Height": height + 40,
	})
}

// ask asks a panel's queries.
func (p *panel) ask(begin, end time.Time) error {
	for _, target := range p.Targets {
		expr := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*", "$rail", ".+", "$pod", ".*", "[1h]", "[1m]").Replace(target.Expr)
		var a answer
		kind, at := "query_range", end
		if p.Type == "table" {
			kind, at = "query", begin.Add(end.Sub(begin)/2) // pods have NICs then
		}
		if err := ask(kind, expr, begin, at, &a); err != nil {
			return err
		}
		if p.Type == "table" {
			p.table(a)
			continue
		}
		for _, s := range a.Result {
			line := series{Name: legend(target.LegendFormat, s.Metric)}
			for _, v := range s.Values {
				f, err := strconv.ParseFloat(v[1].(string), 64)
				if err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) { // of what did not happen
					line.Points = append(line.Points, [2]float64{v[0].(float64), f})
				}
			}
			if len(line.Points) > 0 {
				p.Series = append(p.Series, line)
			}
		}
	}
	return nil
}

// An answer is Prometheus's.
type answer struct {
	Result []struct {
		Metric map[string]string
		Values [][2]any // of a range
		Value  [2]any
	}
}

func (a answer) span() (first, last int64) {
	for _, s := range a.Result {
		at := int64(s.Values[0][0].(float64))
		if first == 0 || at < first {
			first = at
		}
		last = max(last, int64(s.Values[len(s.Values)-1][0].(float64)))
	}
	return first, last
}

func ask(kind, expr string, begin, end time.Time, a *answer) error {
	v := url.Values{"query": {expr}}
	if kind == "query" {
		v.Set("time", fmt.Sprint(end.Unix()))
	} else {
		v.Set("start", fmt.Sprint(begin.Unix()))
		v.Set("end", fmt.Sprint(end.Unix()))
		v.Set("step", strconv.Itoa(step))
	}
	response, err := http.Get(prometheus + kind + "?" + v.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var reply struct {
		Status, Error string
		Data          *answer
	}
	reply.Data = a
	if err := json.NewDecoder(response.Body).Decode(&reply); err != nil {
		return err
	}
	if reply.Status != "success" {
		return fmt.Errorf("%s: %s", expr, reply.Error)
	}
	return nil
}

// legend is Grafana's.
func legend(format string, labels map[string]string) string {
	return regexp.MustCompile(`{{(\w+)}}`).ReplaceAllStringFunc(format, func(s string) string { return labels[strings.Trim(s, "{}")] })
}

// table shows the labels that differ, and the value if it says anything.
func (p *panel) table(a answer) {
	if len(a.Result) == 0 {
		return
	}
	var columns []string
	for _, s := range a.Result {
		for l, v := range s.Metric {
			if l != "__name__" && l != "job" && v != "" && !slices.Contains(columns, l) {
				columns = append(columns, l)
			}
		}
	}
	order := strings.Fields("instance rail netdev device port namespace pod pod_namespace container resource unit")
	at := func(l string) int {
		if i := slices.Index(order, l); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortFunc(columns, func(a, b string) int {
		if d := at(a) - at(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	values := p.FieldConfig.Defaults.Unit != ""
	var rows [][]string
	for _, s := range a.Result {
		var row []string
		for _, c := range columns {
			row = append(row, s.Metric[c])
		}
		if values {
			f, _ := strconv.ParseFloat(s.Value[1].(string), 64)
			row = append(row, fmt.Sprintf("%.2f Mbit/s", f/1e6))
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, slices.Compare)
	if values {
		columns = append(columns, "value")
	}
	p.Rows = append([][]string{columns}, rows...)
}

// A placed panel has its place on the page in pixels, and its lines as JSON.
type placed struct {
	*panel
	X, Y, W, H int
	Lines      template.JS
}

// layout fills the page from the top, two panels beside each other: those that
// have something to show.
func layout(panels []*panel) (all []placed, height int, err error) {
	const width, panelHeight, rowHeight = 660, 176, 24
	x, y := 0, 0
	for _, p := range panels {
		lines, err := json.Marshal(p.Series)
		if err != nil {
			return nil, 0, err
		}
		if p.Type == "row" {
			if x > 0 {
				x, y = 0, y+panelHeight
			}
			all = append(all, placed{p, 0, y, 2 * width, rowHeight, ""})
			y += rowHeight
			continue
		}
		all = append(all, placed{p, x, y, width, panelHeight, template.JS(lines)})
		if x += width; x == 2*width {
			x, y = 0, y+panelHeight
		}
	}
	if x > 0 {
		y += panelHeight
	}
	return all, y, nil
}
