package main

import (
	"os/exec"
	"strings"
)

// version asks a program for its version.
func (l *lab) version(peer string) string {
	program, args := l.trivet, []string{"version"}
	if peer != "trivet" {
		found, err := findProgram(programOf(peer))
		if err != nil {
			return "not installed"
		}
		program, args = found, versionArguments(peer)
	}
	text, err := exec.Command(program, args...).CombinedOutput()
	if err != nil && len(text) == 0 { // some say it and then fail
		return "unknown version"
	}
	return versionIn(string(text))
}

// versionIn finds the version in what a program says of itself: it stands in the first line, with words around it that say
// nothing.
func versionIn(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	if _, after, ok := strings.Cut(line, "PowerDNS Authoritative Server "); ok { // behind a time
		line, _, _ = strings.Cut(after, " ")
	}
	for _, noise := range []string{"nginx version: ", "gdnsd version ", "CoreDNS-"} {
		line = strings.TrimPrefix(line, noise)
	}
	return strings.TrimSuffix(line, ".")
}

func programOf(peer string) string {
	if peer == "powerdns" {
		return "pdns_server"
	}
	return peer
}

func versionArguments(peer string) []string {
	switch peer {
	case "powerdns":
		return []string{"--version"}
	case "gdnsd":
		return nil // it says so when it is told nothing
	case "coredns":
		return []string{"-version"}
	}
	return []string{"-v"}
}
