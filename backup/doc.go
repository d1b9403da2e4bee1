// Package backup says what is backed up, when, and what became of it: it runs a Source into one or several
// repositories, between hooks, and makes a snapshot of what the Source saved.
//
// It declares Source; systems/files and the databases implement it. It never interprets content, never
// runs a shell, and never announces a snapshot that package repository has not read back.
package backup
