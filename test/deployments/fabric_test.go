package deployments

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// A fabricTest is one of the two forms of the example.
type fabricTest struct {
	service *corev1.Service
	job     batchv1.JobSpec
	pod0    string // what the Job's first pod is called
}

func fabricTests(t *testing.T) map[string]fabricTest {
	t.Helper()
	job, cron := examples(t)["fabric-test/job.yaml"], examples(t)["fabric-test/cronjob.yaml"]
	once := all[*batchv1.Job](job)["Job /roce-fabric-test"]
	nightly := all[*batchv1.CronJob](cron)["CronJob /roce-fabric-test-nightly"]
	return map[string]fabricTest{
		"once":    {all[*corev1.Service](job)["Service /roce-fabric-test"], once.Spec, once.Name + "-0"},
		"nightly": {all[*corev1.Service](cron)["Service /roce-fabric-test-nightly"], nightly.Spec.JobTemplate.Spec, nightly.Name + "-29731860-0"},
	}
}

func TestTheFabricTestTakesTheFlagsOfTheExamples(t *testing.T) {
	program := filepath.Join(t.TempDir(), "roce-fabric-test")
	if out, err := exec.Command("go", "build", "-C", "../..", "-buildvcs=false", "-o", program, "./images/rdma-tools/roce-fabric-test").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, f := range fabricTests(t) {
		// With --version it looks at all flags, and ends.
		if status, output := statusOf(t, program, append(f.job.Template.Spec.Containers[0].Args, "--version")...); status != 0 {
			t.Errorf("%s: %d: %s", name, status, output)
		}
		if status, _ := statusOf(t, program, append(f.job.Template.Spec.Containers[0].Args, "--rank=2", "--version")...); status != 3 {
			t.Errorf("%s: a third of two nodes is taken: %d", name, status)
		}
	}
}

func TestThePodsOfTheFabricTestFindTheFirst(t *testing.T) {
	for name, f := range fabricTests(t) {
		pod := f.job.Template
		if !labels.SelectorFromSet(f.service.Spec.Selector).Matches(labels.Set(pod.Labels)) || f.service.Spec.ClusterIP != corev1.ClusterIPNone {
			t.Errorf("%s: the Service does not select the pods, or has an address", name)
		}
		if !f.service.Spec.PublishNotReadyAddresses || pod.Spec.Subdomain != f.service.Name {
			t.Errorf("%s: the pods have no names when they start", name)
		}
		flags := map[string]string{}
		for _, arg := range pod.Spec.Containers[0].Args {
			flag, value, _ := strings.Cut(arg, "=")
			flags[flag] = value
		}
		job := strings.TrimSuffix(f.pod0, "-0")
		if host := strings.ReplaceAll(flags["--coordinator"], "$(JOB_NAME)", job); host != f.pod0+"."+f.service.Name {
			t.Errorf("%s: the coordinator is %s", name, host)
		}
		// A node that has no pod is waited for and reported, every time.
		if nodes := flags["--nodes"]; nodes != strconv.Itoa(int(*f.job.Completions)) || *f.job.Parallelism != *f.job.Completions || *f.job.CompletionMode != batchv1.IndexedCompletion {
			t.Errorf("%s: --nodes=%s, %d completions, %d at once", name, nodes, *f.job.Completions, *f.job.Parallelism)
		}
		if pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector.MatchLabels["app"] != pod.Labels["app"] {
			t.Errorf("%s: two pods may be on one node", name)
		}
	}
}

func TestTheNightlyFabricTestIsTheSameAsTheOther(t *testing.T) {
	both := fabricTests(t)
	text := func(name string) string {
		b, err := json.Marshal(both[name].job)
		must(t, err)
		return string(b)
	}
	if once, nightly := text("once"), strings.ReplaceAll(text("nightly"), "roce-fabric-test-nightly", "roce-fabric-test"); once != nightly {
		t.Errorf("once:\n%s\nnightly:\n%s", once, nightly)
	}
}

// What the script does with a program that ends so.
func TestTheFabricTestsPodsEndAsTheFirstOneDoes(t *testing.T) {
	for name, f := range fabricTests(t) {
		c := f.job.Template.Spec.Containers[0]
		for index, want := range map[string]int{"0": 2, "1": 0} {
			folder := t.TempDir()
			script := strings.NewReplacer(`roce-fabric-test "$@"`, "(exit 2)", "/report/", folder+"/").Replace(c.Command[2])
			status, output := statusOf(t, "env", "JOB_COMPLETION_INDEX="+index, "bash", "-c", script)
			if status != want {
				t.Errorf("%s, index %s: %d: %s", name, index, status, output)
			}
			shown := strings.ReplaceAll(f.job.Template.Spec.Containers[1].Command[2], "/report/", folder+"/")
			if status, output := statusOf(t, "bash", "-c", shown, "show", folder+"/nothing"); status != 0 {
				t.Errorf("%s: without a report: %d: %s", name, status, output)
			}
		}
	}
}
