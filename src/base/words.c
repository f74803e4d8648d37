/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers in words for people: counts, bytes, durations. */
#include <rehome/base.h>

#include <stdio.h>

struct rh_words rh_words_count(uint64_t count)
{
    char plain[24];
    struct rh_words words = {{0}};
    int size = snprintf(plain, sizeof plain, "%llu", (unsigned long long)count);
    size_t to = 0;
    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            words.text[to++] = ',';
        words.text[to++] = plain[i];
    }
    return words;
}

struct rh_words rh_words_bytes(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    struct rh_words words = {{0}};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    snprintf(words.text, sizeof words.text, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return words;
}

struct rh_words rh_words_duration(int64_t time_us)
{
    struct rh_words words = {{0}};
    long long seconds = time_us / 1000000;
    if (time_us < 1000000)
        snprintf(words.text, sizeof words.text, "%lld ms", (long long)time_us / 1000);
    else if (seconds < 60)
        snprintf(words.text, sizeof words.text, "%.1f s", (double)time_us / 1e6);
    else if (seconds < 3600)
        snprintf(words.text, sizeof words.text, "%lldm%02llds", seconds / 60, seconds % 60);
    else
        snprintf(words.text, sizeof words.text, "%lldh%02lldm", seconds / 3600, seconds / 60 % 60);
    return words;
}
