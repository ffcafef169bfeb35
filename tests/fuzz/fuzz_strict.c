/* A request head from anywhere. What strict_head() lets pass, a second and naive reader must read
 * in one way only: lines that end in CRLF, one Host, at most one statement of where the body ends.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <strings.h>

#include "broker/io/strict.h"

#define BODY_MAX 1000

static bool is_named(struct str line, const char *name)
{
    size_t len = strlen(name);
    return line.len > len && strncasecmp(line.at, name, len) == 0 && line.at[len] == ':';
}

/* The line up to CRLF; a line feed or a carriage return anywhere else breaks the promise. */
static struct str line_take(struct str *rest)
{
    const char *end = memchr(rest->at, '\n', rest->len);
    must(end != NULL && end > rest->at && end[-1] == '\r');
    struct str line = {.at = rest->at, .len = (size_t)(end - rest->at) - 1};
    must(memchr(line.at, '\r', line.len) == NULL && memchr(line.at, '\0', line.len) == NULL);
    rest->len -= (size_t)(end + 1 - rest->at);
    rest->at = end + 1;
    return line;
}

static void read_again(struct str raw, bool must_close)
{
    int hosts = 0, lengths = 0, encodings = 0, lines = 0;
    struct str request = line_take(&raw);
    struct str version = request;
    struct str method = str_cut(&version, ' ');
    struct str target = str_cut(&version, ' ');
    bool is_http_1_0 = str_equal_c(version, "HTTP/1.0");
    must(method.len > 0 && target.len > 0 && target.len <= STRICT_TARGET_MAX);
    must(is_http_1_0 || str_equal_c(version, "HTTP/1.1"));
    for (struct str line; (line = line_take(&raw)).len > 0; lines++) {
        const char *colon = memchr(line.at, ':', line.len);
        must(colon != NULL && colon > line.at);
        must(colon[-1] != ' ' && colon[-1] != '\t' && line.at[0] != ' ' && line.at[0] != '\t');
        hosts += is_named(line, "host");
        lengths += is_named(line, "content-length");
        encodings += is_named(line, "transfer-encoding");
    }
    must(lines <= 64 && hosts <= 1 && lengths + encodings <= 1);
    must(hosts == 1 || is_http_1_0);
    must(must_close || (!is_http_1_0 && encodings == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str raw = fuzz_str(data, size);
    struct strict_verdict verdict = strict_head(raw, BODY_MAX);
    if (verdict.err == ERR_OK)
        read_again(raw, verdict.must_close);
    else
        must(verdict.detail != NULL && verdict.detail[0] != '\0');
    return 0;
}
