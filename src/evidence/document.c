/* SPDX-License-Identifier: Apache-2.0 */
/* The report's document as bytes. */
#include <rehome/evidence.h>

#include <stdlib.h>

/* Appends JSON text; what HTML could take for its own is written as JSON allows it too. Outside of strings valid JSON
 * has none of these. */
static enum rh_status add_escaped(struct rh_buf *out, const char *text, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    while (status == RH_OK && *text) {
        const size_t plain = strcspn(text, "<>&");
        status = rh_buf_add(out, text, plain, err);
        text += plain;
        if (status == RH_OK && *text)
            status = rh_buf_format(out, err, "\\u%04x", (unsigned)(unsigned char)*text++);
    }
    return status;
}

enum rh_status rh_evidence_text(const json_t *report, struct rh_buf *ret_text, struct rh_error *err)
{
    rh_auto_free char *text = report ? json_dumps(report, JSON_INDENT(2) | JSON_ENSURE_ASCII) : NULL;
    if (!text)
        return rh_fail(err, RH_E_INTERNAL, "writing the report as JSON failed");
    rh_buf_clear(ret_text);
    enum rh_status status = add_escaped(ret_text, text, err);
    return status == RH_OK ? rh_buf_text(ret_text, "\n", err) : status;
}
