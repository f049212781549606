package main

import (
	"os"
	"path/filepath"
	"syscall"
)

// Output that travels with the answer; more stays in the files.
const carriedBytes = 16 << 10

// printed is what a call has written to standard output and error, if it is little: then the files
// are emptied. Otherwise, or when somebody else has the files too, they are left as they are.
func printed() (out, err []byte, spill bool) {
	var stats [2]syscall.Stat_t
	for index := range stats {
		if syscall.Fstat(index+1, &stats[index]) != nil {
			return nil, nil, true
		}
	}
	total := stats[0].Size + stats[1].Size
	if total == 0 && stats[0].Nlink == 1 {
		return nil, nil, false
	}
	if total > carriedBytes || stats[0].Nlink != 1 || stats[1].Nlink != 1 {
		return nil, nil, true
	}
	return taken(1, stats[0].Size), taken(2, stats[1].Size), false
}

func taken(descriptor int, size int64) []byte {
	content := make([]byte, size)
	count, err := syscall.Pread(descriptor, content, 0)
	if err != nil {
		return nil
	}
	syscall.Ftruncate(descriptor, 0)
	return content[:count]
}

// renew lets descriptors 1 and 2 be new files: the old ones were kept.
func renew(directory string) error {
	for index, name := range []string{"stdout", "stderr"} {
		flags := os.O_RDWR | os.O_CREATE | os.O_APPEND | syscall.O_NOFOLLOW
		file, err := os.OpenFile(filepath.Join(directory, name), flags, 0o600)
		if err != nil {
			return err
		}
		if err := syscall.Dup3(int(file.Fd()), index+1, 0); err != nil {
			return err
		}
		file.Close()
	}
	return nil
}

// hasChildren tells whether the handler left processes behind; whoever is dead is buried on the way.
func hasChildren() bool {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == nil && pid == 0 {
			return true
		}
		if err != nil && err != syscall.EINTR {
			return false
		}
	}
}

// tidy makes the working directory an empty one for the next call.
func tidy(home string) error {
	if err := os.Chdir(home); err != nil {
		return err
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		os.RemoveAll(entry.Name())
	}
	return nil
}
