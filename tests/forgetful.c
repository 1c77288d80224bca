/* A filesystem that notes what is durable: a layer over a folder, every call is that folder's.
 *
 * forgetful FOLDER STORE LIE FAULTS mount-point and options of FUSE
 *
 * What a sync makes durable goes to STORE, whole or not at all: `<inode>.data` for the content
 * of a file, `<inode>.names` for the names in a folder ("inode kind name", each ended by a zero).
 * Whoever kills this process, cuts the power; what is then found is for `forgetful.py` to say.
 * LIE: a pattern of names (of folders with a slash after them) whose syncs are answered and not
 * done, as a disk does that lies.
 * FAULTS: a file, shared with whoever ails the disk, that holds `struct fault`s: calls that fail.
 * A sync that fails forgets what it was to make durable, as Linux does: it is read back as if it
 * were there, the next sync says that all is well, and only what is written again gets durable.
 * What is not here: locks (the kernel's own), extended attributes.
 */
#define FUSE_USE_VERSION 34
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define BUCKETS 4096
#define FAULTS 8
#define REPLY(call) fuse_reply_err(req, (call) < 0 ? errno : 0)

struct node {
    int fd; /* O_PATH: good also when the name is gone */
    ino_t ino;
    uint64_t lookups;
    int disk; /* since a sync failed: what the next one makes durable; else 0 */
    struct node *next;
};

struct fault {
    char call[16], names[40]; /* patterns: `write`, `fsync`...; of folders with a slash after them */
    int32_t error, after;     /* so many calls are done first */
    int32_t left, met;        /* how often it still fails, below 0: always; how often it did */
};

struct way { char path[64]; };

static struct node root = {.lookups = 1};
static struct node *nodes[BUCKETS];
static const char *store, *lie;
static struct fault *faults;

/* --- nodes ------------------------------------------------------------------------------- */

static struct node *node_of(fuse_ino_t ino) {
    return ino == FUSE_ROOT_ID ? &root : (struct node *)(uintptr_t)ino;
}

static int fd_of(fuse_ino_t ino) { return node_of(ino)->fd; }

static struct way way_to(int fd) {
    struct way way;
    snprintf(way.path, sizeof way.path, "/proc/self/fd/%d", fd);
    return way;
}

static struct node *known(int fd, ino_t ino) {
    struct node **place = &nodes[ino % BUCKETS], *each;
    for (each = *place; each; each = each->next)
        if (each->ino == ino) {
            close(fd);
            each->lookups++;
            return each;
        }
    each = calloc(1, sizeof *each);
    *each = (struct node){.fd = fd, .ino = ino, .lookups = 1, .next = *place};
    return *place = each;
}

static void unlearn(fuse_ino_t ino, uint64_t times) {
    struct node *node = node_of(ino), **place;
    if (node == &root || (node->lookups -= times))
        return;
    for (place = &nodes[node->ino % BUCKETS]; *place != node; place = &(*place)->next)
        ;
    *place = node->next;
    close(node->fd);
    if (node->disk)
        close(node->disk);
    free(node);
}

static int entry_at(fuse_ino_t parent, const char *name, struct fuse_entry_param *entry) {
    int fd = openat(fd_of(parent), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    memset(entry, 0, sizeof *entry);
    if (fd < 0)
        return -1;
    fstatat(fd, "", &entry->attr, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
    entry->ino = (uintptr_t)known(fd, entry->attr.st_ino);
    return 0;
}

static void reply_entry(fuse_req_t req, int done, fuse_ino_t parent, const char *name) {
    struct fuse_entry_param entry;
    if (done < 0 || entry_at(parent, name, &entry) < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_entry(req, &entry);
}

/* --- what is durable ------------------------------------------------------------------------ */

static const char *name_of(int fd, const char *end) {
    static char path[4096];
    char *name;
    ssize_t length = readlink(way_to(fd).path, path, sizeof path - 2);
    strcpy(path + (length < 0 ? 0 : length), end);
    for (name = path + (length < 0 ? 0 : length); name > path && name[-1] != '/'; name--)
        ;
    return name;
}

static int lies(int fd, const char *end) { return !fnmatch(lie, name_of(fd, end), 0); }

static int note_path(char *target, ino_t ino, const char *kind) {
    return snprintf(target, 4096, "%s/%llu.%s", store, (unsigned long long)ino, kind);
}

static int begin_note(char *target, ino_t ino, const char *kind) {
    char path[4096];
    note_path(target, ino, kind);
    snprintf(path, sizeof path, "%s/new", store);
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static int end_note(int into, const char *target) {
    char path[4096];
    snprintf(path, sizeof path, "%s/new", store);
    return close(into) < 0 ? -1 : rename(path, target);
}

static int write_all(int into, const char *data, size_t size) {
    while (size) {
        ssize_t done = write(into, data, size);
        if (done < 0)
            return -1;
        data += done, size -= done;
    }
    return 0;
}

static int copy(int from, int into) {
    static char data[1 << 20];
    ssize_t size;
    off_t at = 0;
    for (; (size = pread(from, data, sizeof data, at)) > 0; at += size)
        if (write_all(into, data, size) < 0)
            return -1;
    return size;
}

static int note_content(struct node *node) {
    static char target[4096];
    int from = node->disk ? node->disk : open(way_to(node->fd).path, O_RDONLY | O_CLOEXEC);
    int into = from < 0 ? -1 : begin_note(target, node->ino, "data");
    int done = into < 0 ? -1 : copy(from, into);
    if (!node->disk)
        close(from);
    return done < 0 ? -1 : end_note(into, target);
}

/* What was not durable stays where it is read from, and is never going to be durable. */
static void forget_unsynced(struct node *node) {
    char path[4096];
    int note;
    if (node->disk)
        close(node->disk);
    note_path(path, node->ino, "disk");
    node->disk = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    note_path(path, node->ino, "data");
    note = open(path, O_RDONLY | O_CLOEXEC);
    if (note >= 0) {
        copy(note, node->disk);
        close(note);
    }
}

static int note_names(struct node *node) {
    static char target[4096], line[4096];
    int into, fd = openat(node->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *each;
    if (!folder)
        return -1;
    into = begin_note(target, node->ino, "names");
    while (into >= 0 && (each = readdir(folder))) {
        int size = snprintf(line, sizeof line, "%llu %c %s", (unsigned long long)each->d_ino,
                            each->d_type == DT_DIR ? 'd' : each->d_type == DT_REG ? 'f' : '-',
                            each->d_name);
        write_all(into, line, size + 1);
    }
    closedir(folder);
    return into < 0 ? -1 : end_note(into, target);
}

/* --- what fails -------------------------------------------------------------------------- */

static int fault(const char *call, const char *name) {
    for (struct fault *each = faults; each < faults + FAULTS; each++)
        if (each->left && !fnmatch(each->call, call, 0) && !fnmatch(each->names, name, 0)) {
            if (each->after-- > 0)
                continue;
            each->after = 0;
            each->left -= each->left > 0;
            each->met++;
            return each->error;
        }
    return 0;
}

/* Answers a call that is to fail, and says so. */
static int fails(fuse_req_t req, const char *call, const char *name) {
    int error = fault(call, name);
    if (error)
        fuse_reply_err(req, error);
    return error;
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int only_data, struct fuse_file_info *fi) {
    (void)only_data, (void)fi;
    if (fails(req, "fsync", name_of(fd_of(ino), ""))) {
        forget_unsynced(node_of(ino));
        return;
    }
    REPLY(lies(fd_of(ino), "") ? 0 : note_content(node_of(ino)));
}

static void on_fsyncdir(fuse_req_t req, fuse_ino_t ino, int only_data, struct fuse_file_info *fi) {
    (void)only_data, (void)fi;
    if (fails(req, "fsync", name_of(fd_of(ino), "/")))
        return;
    REPLY(lies(fd_of(ino), "/") ? 0 : note_names(node_of(ino)));
}

/* --- everything else ------------------------------------------------------------------------ */

static void on_init(void *data, struct fuse_conn_info *connection) {
    (void)data;
    connection->want &= ~(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ);
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
    reply_entry(req, 0, parent, name);
}

static void on_forget(fuse_req_t req, fuse_ino_t ino, uint64_t times) {
    unlearn(ino, times);
    fuse_reply_none(req);
}

static void on_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets) {
    for (size_t each = 0; each < count; each++)
        unlearn(forgets[each].ino, forgets[each].nlookup);
    fuse_reply_none(req);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    struct stat found;
    (void)fi;
    if (fstatat(fd_of(ino), "", &found, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_attr(req, &found, 0);
}

static struct timespec a_time(int set, int now, struct timespec given) {
    if (now)
        return (struct timespec){.tv_nsec = UTIME_NOW};
    return set ? given : (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int set(fuse_ino_t ino, struct stat *wish, int what, struct fuse_file_info *fi) {
    struct way way = way_to(fd_of(ino));
    struct timespec times[2] = {
        a_time(what & FUSE_SET_ATTR_ATIME, what & FUSE_SET_ATTR_ATIME_NOW, wish->st_atim),
        a_time(what & FUSE_SET_ATTR_MTIME, what & FUSE_SET_ATTR_MTIME_NOW, wish->st_mtim),
    };
    if (what & FUSE_SET_ATTR_MODE && chmod(way.path, wish->st_mode) < 0)
        return -1;
    if (what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) &&
        fchownat(fd_of(ino), "", what & FUSE_SET_ATTR_UID ? wish->st_uid : (uid_t)-1,
                 what & FUSE_SET_ATTR_GID ? wish->st_gid : (gid_t)-1, AT_EMPTY_PATH) < 0)
        return -1;
    if (what & FUSE_SET_ATTR_SIZE &&
        (fi ? ftruncate(fi->fh, wish->st_size) : truncate(way.path, wish->st_size)) < 0)
        return -1;
    if (what & FUSE_SET_ATTR_SIZE && node_of(ino)->disk &&
        ftruncate(node_of(ino)->disk, wish->st_size) < 0)
        return -1;
    if (what & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME))
        return utimensat(AT_FDCWD, way.path, times, 0);
    return 0;
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *wish, int what,
                       struct fuse_file_info *fi) {
    if (what & FUSE_SET_ATTR_SIZE && fails(req, "truncate", name_of(fd_of(ino), "")))
        return;
    if (set(ino, wish, what, fi) < 0)
        fuse_reply_err(req, errno);
    else
        on_getattr(req, ino, fi);
}

static void on_readlink(fuse_req_t req, fuse_ino_t ino) {
    char path[4096];
    ssize_t length = readlinkat(fd_of(ino), "", path, sizeof path - 1);
    if (length < 0) {
        fuse_reply_err(req, errno);
        return;
    }
    path[length] = 0;
    fuse_reply_readlink(req, path);
}

static void on_symlink(fuse_req_t req, const char *to, fuse_ino_t parent, const char *name) {
    if (fails(req, "create", name))
        return;
    reply_entry(req, symlinkat(to, fd_of(parent), name), parent, name);
}

static void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev) {
#ifdef NO_SOCKETS  /* as FAT answers */
    if (S_ISSOCK(mode)) {
        fuse_reply_err(req, EPERM);
        return;
    }
#endif
    if (fails(req, "create", name))
        return;
    reply_entry(req, mknodat(fd_of(parent), name, mode, dev), parent, name);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode) {
    if (fails(req, "create", name))
        return;
    reply_entry(req, mkdirat(fd_of(parent), name, mode), parent, name);
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name) {
    if (fails(req, "unlink", name))
        return;
    REPLY(unlinkat(fd_of(parent), name, 0));
}

static void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name) {
    if (fails(req, "unlink", name))
        return;
    REPLY(unlinkat(fd_of(parent), name, AT_REMOVEDIR));
}

static void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to,
                      const char *new_name, unsigned flags) {
    if (fails(req, "rename", new_name))
        return;
    REPLY(renameat2(fd_of(parent), name, fd_of(to), new_name, flags));
}

static void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name) {
    struct way way = way_to(fd_of(ino));
    if (fails(req, "rename", name))
        return;
    reply_entry(req, linkat(AT_FDCWD, way.path, fd_of(parent), name, AT_SYMLINK_FOLLOW), parent,
                name);
}

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi) {
    struct fuse_entry_param entry;
    int fd;
    if (fails(req, "create", name))
        return;
    fd = openat(fd_of(parent), name, (fi->flags & ~O_APPEND) | O_CREAT | O_CLOEXEC, mode);
    if (fd < 0 || entry_at(parent, name, &entry) < 0) {
        fuse_reply_err(req, errno);
        return;
    }
    fi->fh = fd;
    fuse_reply_create(req, &entry, fi);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    int flags = fi->flags & ~(O_NOFOLLOW | O_APPEND | O_CREAT | O_EXCL), fd;
    if (fails(req, "open", name_of(fd_of(ino), "")))
        return;
    fd = open(way_to(fd_of(ino)).path, flags | O_CLOEXEC);
    if (fd < 0) {
        fuse_reply_err(req, errno);
        return;
    }
    fi->fh = fd;
    fuse_reply_open(req, fi);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (void)ino;
    REPLY(close(fi->fh));
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at,
                    struct fuse_file_info *fi) {
    char *data;
    ssize_t done;
    if (fails(req, "read", name_of(fd_of(ino), "")))
        return;
    data = malloc(size);
    done = pread(fi->fh, data, size, at);
    if (done < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_buf(req, data, done);
    free(data);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t at,
                     struct fuse_file_info *fi) {
    struct node *node = node_of(ino);
    ssize_t done;
    if (fails(req, "write", name_of(node->fd, "")))
        return;
    done = pwrite(fi->fh, data, size, at);
    if (done < 0 || (node->disk && pwrite(node->disk, data, done, at) < done))
        fuse_reply_err(req, errno);
    else
        fuse_reply_write(req, done);
}

static void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    int fd = openat(fd_of(ino), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder) {
        fuse_reply_err(req, errno);
        return;
    }
    fi->fh = (uintptr_t)folder;
    fuse_reply_open(req, fi);
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at,
                       struct fuse_file_info *fi) {
    DIR *folder = (DIR *)(uintptr_t)fi->fh;
    char *data = malloc(size);
    size_t used = 0, more;
    struct dirent *each;
    (void)ino;
    seekdir(folder, at);
    while ((each = readdir(folder))) {
        struct stat found = {.st_ino = each->d_ino, .st_mode = each->d_type << 12};
        more = fuse_add_direntry(req, data + used, size - used, each->d_name, &found, each->d_off);
        if (more > size - used)
            break;
        used += more;
    }
    fuse_reply_buf(req, data, used);
    free(data);
}

static void on_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (void)ino;
    REPLY(closedir((DIR *)(uintptr_t)fi->fh));
}

static void on_statfs(fuse_req_t req, fuse_ino_t ino) {
    struct statvfs found;
    if (statvfs(way_to(fd_of(ino)).path, &found) < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_statfs(req, &found);
}

static const struct fuse_lowlevel_ops calls = {
    .init = on_init, .lookup = on_lookup, .forget = on_forget, .forget_multi = on_forget_multi,
    .getattr = on_getattr, .setattr = on_setattr, .readlink = on_readlink,
    .symlink = on_symlink, .mknod = on_mknod, .mkdir = on_mkdir, .unlink = on_unlink,
    .rmdir = on_rmdir, .rename = on_rename, .link = on_link, .create = on_create,
    .open = on_open, .release = on_release, .read = on_read, .write = on_write,
    .fsync = on_fsync, .opendir = on_opendir, .readdir = on_readdir,
    .releasedir = on_releasedir, .fsyncdir = on_fsyncdir, .statfs = on_statfs,
};

int main(int count, char **words) {
    struct fuse_args args;
    struct fuse_cmdline_opts options;
    struct fuse_session *session;
    if (count < 6)
        return 2;
    root.fd = open(words[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
    store = words[2], lie = words[3];
    faults = mmap(NULL, FAULTS * sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED,
                  open(words[4], O_RDWR | O_CLOEXEC), 0);
    words[4] = words[0];
    args = (struct fuse_args)FUSE_ARGS_INIT(count - 4, words + 4);
    umask(0);
    if (root.fd < 0 || faults == MAP_FAILED || fuse_parse_cmdline(&args, &options) < 0)
        return 2;
    struct stat found;
    fstat(root.fd, &found);
    root.ino = found.st_ino;
    session = fuse_session_new(&args, &calls, sizeof calls, NULL);
    if (!session || fuse_session_mount(session, options.mountpoint) < 0)
        return 1;
    fuse_session_loop(session);
    fuse_session_unmount(session);
    return 0;
}
