package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// An identity is who the workers are.
type identity struct {
	name       string // as in the file; "": who we are
	credential *syscall.Credential
}

// uid is the number of the user.
func (i identity) uid() int {
	if i.credential == nil {
		return os.Geteuid()
	}
	return int(i.credential.Uid)
}

// identify finds the user that the file names. The user database may be slow: it
// is not for the loop.
func identify(name string) (identity, error) {
	if name == "" {
		return identity{}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return identity{}, fmt.Errorf("supervisor.user = %q: there is no such user", name)
		}
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	names, err := u.GroupIds()
	if err := errors.Join(uidErr, gidErr, err); err != nil {
		return identity{}, fmt.Errorf("supervisor.user = %q: %w", name, err)
	}
	if int(uid) == os.Geteuid() {
		return identity{name: name}, nil
	}
	if os.Geteuid() != 0 {
		return identity{}, fmt.Errorf("supervisor.user = %q: only root can become somebody else", name)
	}
	c := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, text := range names {
		if group, err := strconv.ParseUint(text, 10, 32); err == nil {
			c.Groups = append(c.Groups, uint32(group))
		}
	}
	return identity{name, c}, nil
}

// startConfined starts cmd as who. It and all that it starts can never gain a
// privilege, and if it is another user not even as root by a set-user-ID program:
// its capability sets are empty, the bounding set too.
func startConfined(cmd *exec.Cmd, who identity) error {
	cmd.SysProcAttr.Credential = who.credential
	done := make(chan error)
	go func() {
		// What follows cannot be undone: the thread ends with this goroutine.
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		}
		if err == nil && who.credential != nil {
			err = dropBoundingSet()
		}
		if err == nil {
			err = cmd.Start()
		}
		done <- err
	}()
	return <-done
}

func dropBoundingSet() error {
	for c := range uintptr(64) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); errors.Is(err, unix.EINVAL) {
			return nil // the kernel knows no more
		} else if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}

// closeOnExec keeps from workers what this process has inherited beyond standard
// input, output and error: they refuse to start with a descriptor that they do not
// know.
func closeOnExec() {
	entries, _ := filepath.Glob("/proc/self/fd/*")
	for _, name := range entries {
		if fd, err := strconv.Atoi(filepath.Base(name)); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}
