/* SPDX-License-Identifier: Apache-2.0 */
/* The page of any document: either refused, or a page in which no tag is that the writer didn't write. */
#include <rehome/evidence.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* How often a word stands in a page. */
static size_t count(struct rh_bytes page, const char *word)
{
    size_t found = 0;
    const uint8_t *at = page.data, *end = page.data + page.size;
    while ((at = memmem(at, (size_t)(end - at), word, strlen(word)))) {
        found++;
        at++;
    }
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rh_auto_buf struct rh_buf page = RH_BUF_INIT;
    if (rh_evidence_page(rh_bytes(data, size), &page, NULL) != RH_OK)
        return 0;
    const struct rh_bytes all = rh_buf_bytes(&page);
    if (count(all, "<script") != 1 || count(all, "</script>") != 1 || count(all, "<style") != 1 ||
        count(all, "<section") != count(all, "</section>") || count(all, "<div") != count(all, "</div>") ||
        count(all, "<svg") != count(all, "</svg>") || count(all, "<img") != 0)
        abort();
    return 0;
}
