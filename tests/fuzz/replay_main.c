/* SPDX-License-Identifier: Apache-2.0 */
/* Feeds files and the files of folders, given as arguments, to a fuzz target: the normal test run over its corpus. */
#include <rehome/base.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { INPUT_MOST = 16 * 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One file; the copy has the file's exact size, so that a sanitizer sees a read past its end. */
static int replay_file(const char *path)
{
    struct rh_error err;
    rh_auto_buf struct rh_buf content = RH_BUF_INIT;
    if (rh_file_read(AT_FDCWD, path, INPUT_MOST, &content, &err)) {
        (void)fprintf(stderr, "replay: can't read %s\n", path);
        return -1;
    }
    rh_auto_free uint8_t *exact = malloc(content.size ? content.size : 1);
    if (!exact)
        return -1;
    if (content.size)
        memcpy(exact, content.data, content.size);
    (void)LLVMFuzzerTestOneInput(exact, content.size); /* always 0; what is wrong aborts */
    return 1;
}

/* A file, or all files of a folder; how many, or -1. */
static int replay(const char *path)
{
    struct stat st;
    if (stat(path, &st) || !S_ISDIR(st.st_mode))
        return replay_file(path);
    struct dirent **entries = NULL;
    int found = scandir(path, &entries, NULL, alphasort);
    int count = 0;
    for (int i = 0; i < found; i++) {
        char name[4096];
        int length = snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (count >= 0 && entries[i]->d_name[0] != '.') {
            int done = length > 0 && (size_t)length < sizeof name ? replay(name) : -1;
            count = done < 0 ? -1 : count + done;
        }
        free(entries[i]);
    }
    free(entries);
    return found < 0 ? -1 : count;
}

int main(int argc, char **argv)
{
    int count = 0;
    for (int i = 1; i < argc; i++) {
        int done = replay(argv[i]);
        if (done < 0)
            return 1;
        count += done;
    }
    printf("replayed %d inputs\n", count);
    return count > 0 ? 0 : 1;
}
