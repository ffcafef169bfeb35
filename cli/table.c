#include "cli/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/base/clock.h"
#include "broker/base/money.h"

void table_start(struct table *table, const char *const *titles)
{
    *table = (struct table){.titles = titles};
    while (titles[table->columns_count])
        table->columns_count++;
    must(table->columns_count > 0 && table->columns_count <= TABLE_COLUMNS_MAX);
}

/* Columns on the terminal: one per code point is close enough for what we print. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

void table_cell(struct table *table, const char *format, ...)
{
    if (table->cells_count == table->cells_max) {
        table->cells_max = table->cells_max ? 2 * table->cells_max : 64;
        table->cells = realloc(table->cells, table->cells_max * sizeof *table->cells);
        must(table->cells != NULL);
    }
    char *cell = NULL;
    va_list list;
    va_start(list, format);
    must(vasprintf(&cell, format, list) >= 0);
    va_end(list);
    for (char *p = cell; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = '?';
    table->cells[table->cells_count++] = cell;
}

static void cell_print(const char *text, const char *title, size_t width, bool is_last)
{
    size_t pad = width - width_of(text);
    if (title[0] == '>')
        printf("%*s%s", (int)pad, "", text);
    else if (is_last)
        printf("%s", text);
    else
        printf("%s%*s", text, (int)pad, "");
    fputs(is_last ? "\n" : "  ", stdout);
}

void table_end(struct table *table)
{
    size_t widths[TABLE_COLUMNS_MAX], columns = table->columns_count;
    for (size_t c = 0; c < columns; c++) {
        widths[c] = width_of(table->titles[c] + (table->titles[c][0] == '>'));
        for (size_t i = c; i < table->cells_count; i += columns)
            if (width_of(table->cells[i]) > widths[c])
                widths[c] = width_of(table->cells[i]);
    }
    for (size_t c = 0; c < columns; c++)
        cell_print(table->titles[c] + (table->titles[c][0] == '>'), table->titles[c], widths[c],
                   c + 1 == columns);
    for (size_t i = 0; i < table->cells_count; i++) {
        cell_print(table->cells[i], table->titles[i % columns], widths[i % columns],
                   (i + 1) % columns == 0);
        free(table->cells[i]);
    }
    free(table->cells);
    table->cells = NULL;
    fflush(stdout);
}

void print_clean(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        putchar(c < ' ' && c != '\n' && c != '\t' ? '?' : c == 127 ? '?' : c);
    }
}

static const char *span_format(int64_t span_s, char buf[16])
{
    if (span_s < 0)
        span_s = 0;
    if (span_s < 60)
        (void)str_format(buf, 16, "%ds", (int)span_s);
    else if (span_s < 3600)
        (void)str_format(buf, 16, "%dm", (int)(span_s / 60));
    else if (span_s < 86400)
        (void)str_format(buf, 16, "%dh", (int)(span_s / 3600));
    else
        (void)str_format(buf, 16, "%dd", (int)(span_s / 86400));
    return buf;
}

static bool instant_parse(const char *rfc3339, int64_t *ret_s)
{
    struct tm tm = {.tm_year = 0};
    if (!rfc3339 || !strptime(rfc3339, "%Y-%m-%dT%H:%M:%S", &tm))
        return false;
    *ret_s = (int64_t)timegm(&tm);
    return true;
}

const char *age_format(const char *rfc3339, char buf[16])
{
    int64_t at_s;
    buf[0] = '\0';
    return instant_parse(rfc3339, &at_s) ? span_format(clock_now_us() / 1000000 - at_s, buf) : buf;
}

const char *left_format(const char *rfc3339, char buf[16])
{
    int64_t at_s;
    buf[0] = '\0';
    return instant_parse(rfc3339, &at_s) ? span_format(at_s - clock_now_us() / 1000000, buf) : buf;
}

const char *usd_format(int64_t uusd, char buf[40])
{
    char plain[32];
    bool is_negative = uusd < 0;
    (void)str_format(buf, 40, "%s$%s", is_negative ? "-" : "",
                     money_format_usd(is_negative ? -uusd : uusd, plain));
    return buf;
}
