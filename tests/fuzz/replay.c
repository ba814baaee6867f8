/* Runs files, and all files of directories, through one fuzz target, without libFuzzer: any
 * compiler, any machine. Prints how many there were, which must be one at least. A finding ends
 * the process, the file's name being the last line before it. */
#define _DEFAULT_SOURCE
#define _FILE_OFFSET_BITS 64 /* a 32-bit readdir refuses what a 64-bit machine has */

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "input.h"

#define PATH_SIZE 1024

static size_t replayed;

static void
replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    const size_t size = (size_t)ftell(file);
    uint8_t *data = new_block(size);
    rewind(file);
    if (fread(data, 1, size, file) != size) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    fclose(file);
    fprintf(stderr, "%s\n", path);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    replayed++;
}

static bool
is_directory(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

static void
replay_directory(const char *path)
{
    char name[PATH_SIZE];
    DIR *directory = opendir(path);
    if (directory == NULL) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        const int length = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        REQUIRE(length > 0 && (size_t)length < sizeof name);
        if (entry->d_name[0] != '.') {
            replay_file(name);
        }
    }
    closedir(directory);
}

int
main(int count, char **paths)
{
    for (int i = 1; i < count; i++) {
        if (is_directory(paths[i])) {
            replay_directory(paths[i]);
        }
        else {
            replay_file(paths[i]);
        }
    }
    printf("%zu passed, 0 failed\n", replayed);
    return replayed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
