/* render.c - the demo's work: one stripe of a Julia set per replica, as text on stdout.
 *
 * Replica i of n renders rows i*H/n to (i+1)*H/n. Each row is one line, "row Y BASE64" with the RGB
 * bytes of a binary PPM; the last line is "done". Progress goes to stderr. Integers only (fixed
 * point, 26 fractional bits), so that every machine draws the same picture to the bit.
 *
 *     render [WIDTH HEIGHT SECONDS]    SECONDS: take at least so long, so that one can watch
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define FRACTION  26
#define STEPS_MAX 400
#define SAMPLES   3 /* per pixel and axis */
#define WIDTH_MAX 4096

static const int64_t c_re = (int64_t)(-0.79 * (1 << FRACTION));
static const int64_t c_im = (int64_t)(0.156 * (1 << FRACTION));

static int64_t times(int64_t a, int64_t b)
{
    return (a * b) >> FRACTION;
}

/* How long a point stays near, 0 to STEPS_MAX * 256, with a fraction so that colours are smooth. */
static int steps_of(int64_t re, int64_t im)
{
    const int64_t far = (int64_t)16 << FRACTION;
    for (int step = 0; step < STEPS_MAX; step++) {
        int64_t re2 = times(re, re), im2 = times(im, im);
        if (re2 + im2 > far) {
            int excess = 0; /* log2 of |z|^2 / 16 in 1/64ths, linear between powers of two */
            int64_t m = re2 + im2;
            for (; m > 2 * far; m >>= 1)
                excess += 64;
            excess += (int)((m - far) / (far / 64));
            return step * 256 + 255 - (excess > 255 ? 255 : excess);
        }
        im = 2 * times(re, im) + c_im;
        re = re2 - im2 + c_re;
    }
    return STEPS_MAX * 256;
}

/* A triangle wave of period 256 from low to high. */
static int wave(int at, int low, int high)
{
    int up = at & 255;
    up = up < 128 ? up : 255 - up;
    return low + (high - low) * up / 127;
}

static void pixel(int x, int y, int width, int height, uint8_t rgb[3])
{
    int sum[3] = {0, 0, 0};
    for (int s = 0; s < SAMPLES * SAMPLES; s++) {
        int64_t px = (int64_t)x * SAMPLES + s % SAMPLES, py = (int64_t)y * SAMPLES + s / SAMPLES;
        int64_t unit = ((int64_t)3 << FRACTION) / ((int64_t)width * SAMPLES);
        int64_t re = (px - (int64_t)width * SAMPLES / 2) * unit;
        int64_t im = (py - (int64_t)height * SAMPLES / 2) * unit;
        int steps = steps_of(re, im);
        int tone = steps >= STEPS_MAX * 256 ? -1 : steps / 48;
        sum[0] += tone < 0 ? 8 : wave(tone, 12, 255);
        sum[1] += tone < 0 ? 8 : wave(tone * 3 / 4 + 20, 10, 190);
        sum[2] += tone < 0 ? 16 : wave(tone / 2 + 60, 40, 230);
    }
    for (int i = 0; i < 3; i++)
        rgb[i] = (uint8_t)(sum[i] / (SAMPLES * SAMPLES));
}

static void row_print(int y, const uint8_t *bytes, int size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    printf("row %d ", y);
    for (int i = 0; i + 2 < size; i += 3) { /* three bytes per pixel: never a remainder */
        unsigned v = (unsigned)bytes[i] << 16 | (unsigned)bytes[i + 1] << 8 | bytes[i + 2];
        putchar(digits[v >> 18]);
        putchar(digits[v >> 12 & 63]);
        putchar(digits[v >> 6 & 63]);
        putchar(digits[v & 63]);
    }
    putchar('\n');
    fflush(stdout);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int number(const char *text, int otherwise, int least, int most)
{
    long value = text ? strtol(text, NULL, 10) : otherwise;
    return value < least ? least : value > most ? most : (int)value;
}

int main(int argc, char **argv)
{
    static uint8_t line[3 * WIDTH_MAX];
    int width = number(argc > 1 ? argv[1] : NULL, 640, 1, WIDTH_MAX);
    int height = number(argc > 2 ? argv[2] : NULL, 360, 1, WIDTH_MAX);
    int seconds = number(argc > 3 ? argv[3] : NULL, 0, 0, 600);
    int count = number(getenv("UNDERCUT_REPLICA_COUNT"), 1, 1, height);
    int index = number(getenv("UNDERCUT_REPLICA_INDEX"), 0, 0, count - 1);
    int first = index * height / count, last = (index + 1) * height / count;
    int64_t began = now_ms();
    fprintf(stderr, "tile %d of %d: rows %d to %d\n", index + 1, count, first, last - 1);
    for (int y = first; y < last; y++) {
        for (int x = 0; x < width; x++)
            pixel(x, y, width, height, line + 3 * x);
        row_print(y, line, 3 * width);
        int done = y - first + 1, all = last - first;
        if (done * 10 / all != (done - 1) * 10 / all)
            fprintf(stderr, "progress %d%%\n", done * 100 / all);
        int64_t wait = (int64_t)seconds * 1000 * done / all - (now_ms() - began);
        if (wait > 0)
            nanosleep(&(struct timespec){.tv_sec = wait / 1000, .tv_nsec = wait % 1000 * 1000000},
                      NULL);
    }
    puts("done");
    return 0;
}
