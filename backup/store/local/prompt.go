package local

import "golang.org/x/sys/unix"

// promptTypes are file systems of one machine's kernel: a name that is there is in the next listing. Network file systems keep
// listings for a while, and what stands behind FUSE nobody knows.
var promptTypes = [...]int64{
	unix.EXT4_SUPER_MAGIC, // ext2 and ext3, too
	unix.XFS_SUPER_MAGIC,
	unix.BTRFS_SUPER_MAGIC,
	unix.F2FS_SUPER_MAGIC,
	unix.TMPFS_MAGIC,
	zfsMagic,
}

const zfsMagic = 0x2fc12fc1 // OpenZFS, ZFS_SUPER_MAGIC

// Prompt implements store.Prompt: it tells a disk of this machine from a network file system. What
// lies under an overlay is not known, so it is none.
func (s *Store) Prompt() bool {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.root, &fs); err != nil {
		return false
	}
	for _, t := range promptTypes {
		if int64(fs.Type) == t {
			return true
		}
	}
	return false
}
