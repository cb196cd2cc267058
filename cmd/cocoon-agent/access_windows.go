package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/windows"
)

// changes are the rights to change or replace a file, or the entries of a directory.
const changes = windows.GENERIC_ALL | windows.GENERIC_WRITE | windows.WRITE_DAC | windows.WRITE_OWNER | windows.DELETE |
	windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA | fileDeleteChild

// fileDeleteChild is FILE_DELETE_CHILD.
const fileDeleteChild = 0x40

// allowing are the types of entries that allow something and are laid out alike; one with a condition
// may.
var allowing = []byte{windows.ACCESS_ALLOWED_ACE_TYPE, accessAllowedCallback}

// accessAllowedCallback is ACCESS_ALLOWED_CALLBACK_ACE_TYPE.
const accessAllowedCallback = 9

// trusted are the SIDs of those that may change what runs as LocalSystem: it, administrators,
// Windows's installer, and the owner, who is looked at by himself.
var trusted = []string{
	"S-1-5-18", "S-1-5-32-544", "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464", "S-1-3-0", "S-1-3-4",
}

// changeableBy names an account that may change a file, or the entries of a directory; empty: only
// administrators and the caller's user may.
func changeableBy(path string) (who string, err error) {
	d, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return "", &os.PathError{Op: "GetNamedSecurityInfo", Path: path, Err: err}
	}
	if who, err = changeableIn(d); err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return who, err
}

func changeableIn(d *windows.SECURITY_DESCRIPTOR) (who string, err error) {
	owner, _, err := d.Owner()
	if err != nil {
		return "", fmt.Errorf("owner: %w", err)
	}
	if !isTrusted(owner) {
		return nameOf(owner), nil
	}
	acl, _, err := d.DACL()
	if errors.Is(err, windows.ERROR_OBJECT_NOT_FOUND) || err == nil && acl == nil { // none: everybody may do everything
		return "everybody", nil
	}
	if err != nil {
		return "", fmt.Errorf("access list: %w", err)
	}
	for i := range uint32(acl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(acl, i, &ace); err != nil {
			return "", fmt.Errorf("access list: %w", err)
		}
		if !slices.Contains(allowing, ace.Header.AceType) || ace.Header.AceFlags&windows.INHERIT_ONLY_ACE != 0 || ace.Mask&changes == 0 {
			continue
		}
		if sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart)); !isTrusted(sid) {
			return nameOf(sid), nil
		}
	}
	return "", nil
}

func isTrusted(sid *windows.SID) bool {
	for _, t := range trusted {
		if sid.String() == t {
			return true
		}
	}
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	return err == nil && user.User.Sid.Equals(sid)
}

// nameOf is the account of a SID, or the SID itself.
func nameOf(sid *windows.SID) string {
	account, domain, _, err := sid.LookupAccount("")
	if err != nil {
		return sid.String()
	}
	if domain == "" {
		return account
	}
	return domain + `\` + account
}
