package doctor

import "time"

func journal(p *patient) (found []symptom, err error) {
	if p.journal == nil {
		return complaint(p.StateDir, p.journalErr), nil
	}
	_, bad, err := p.journal.List()
	found = complaint(p.journal.RecordsDir(), err)
	for _, b := range bad {
		what := "is no record: "
		if b.Unread {
			what = "cannot be read: "
		}
		found = append(found, symptom{where: b.Path, what: what + b.Err.Error()})
	}
	return found, nil
}

// leftovers are files that were set aside or never written whole, and NICs that
// came back to the host with nobody to give them their state.
func leftovers(p *patient) (found []symptom, err error) {
	if p.journalErr != nil {
		return nil, p.journalErr
	}
	aside, err := p.journal.Aside()
	if err != nil {
		return nil, err
	}
	for _, file := range aside {
		found = append(found, symptom{where: file, what: "was set aside: it was no record"})
	}
	unwritten, err := p.journal.Unwritten()
	for _, id := range unwritten {
		found = append(found, symptom{where: p.journal.RecordsDir(), what: "an ADD of container " + id.ContainerID + ", interface " + id.IfName + " ended before its record was written"})
	}
	for _, r := range p.seen.Stranded() {
		found = append(found, symptom{r.Host.Name, "is on the host without its state; it was held by " + r.Holder(), p.journal.RecordsDir()})
	}
	return found, err
}

func owed(p *patient) (found []symptom, err error) {
	if p.journalErr != nil {
		return nil, p.journalErr
	}
	notes, err := p.journal.Owing()
	for _, r := range notes {
		if time.Now().Before(r.Due()) {
			continue // its network manager is at work
		}
		found = append(found, symptom{where: r.Host.Name, what: "is back from " + r.Holder() + ", not yet as it was"})
	}
	return found, err
}
