package main

import "strings"

// identify finds out which licences a text has or refers to, by words that each of
// them has and no other. Not all there are: a module under another licence is to be
// looked at by a person before it is released.
func identify(text []byte) (ids []string) {
	words := strings.Join(strings.Fields(string(text)), " ")
	has := func(phrase string) bool { return strings.Contains(words, phrase) }
	if has("Apache License") && has("Version 2.0") {
		ids = append(ids, "Apache-2.0")
	}
	if has("Permission is hereby granted, free of charge, to any person obtaining a copy") {
		ids = append(ids, "MIT")
	}
	if has("Redistribution and use in source and binary forms") {
		if has("Neither the name of") {
			ids = append(ids, "BSD-3-Clause")
		} else {
			ids = append(ids, "BSD-2-Clause")
		}
	}
	return ids
}
