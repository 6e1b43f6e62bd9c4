package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gatewire/gatewire/jwt"
)

// sealingKeys returns the keys that a database file goes with: those in
// FILE.key, made on first use with mode 0600. They are not in the database, so
// that a stolen database can sign in nobody.
func sealingKeys(sqliteFile string) (jwt.SealingKeys, error) {
	if sqliteFile == ":memory:" {
		keys, _, err := jwt.GenerateSealingKeys("memory")
		return keys, err
	}
	name := sqliteFile + ".key"
	for {
		keys, err := readKeys(name)
		if !errors.Is(err, fs.ErrNotExist) {
			return keys, err
		}
		if err := writeKeys(name); err != nil && !errors.Is(err, fs.ErrExist) {
			return jwt.SealingKeys{}, fmt.Errorf("%s: %w", name, err)
		}
	}
}

func readKeys(name string) (jwt.SealingKeys, error) {
	info, err := os.Stat(name)
	if err != nil {
		return jwt.SealingKeys{}, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return jwt.SealingKeys{}, fmt.Errorf("%s: mode %04o lets others read the keys: chmod 600 %s", name, mode, name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return jwt.SealingKeys{}, err
	}
	keys, err := jwt.ParseSealingKeys(strings.TrimSpace(string(text)))
	if err != nil {
		return jwt.SealingKeys{}, fmt.Errorf("%s: %w", name, err)
	}
	return keys, nil
}

// writeKeys makes the file whole or not at all: it is written under another
// name, synced, and linked, which fails with fs.ErrExist where another process
// was first.
func writeKeys(name string) error {
	_, text, err := jwt.GenerateSealingKeys("k1")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text + "\n")
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Link(tmp.Name(), name)
}
