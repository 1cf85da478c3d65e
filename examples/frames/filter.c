#include "filter.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS = 4 };

static size_t clamp(ptrdiff_t index, size_t size)
{
        return index < 0 ? 0 : (size_t)index >= size ? size - 1 : (size_t)index;
}

/*
 * Both passes keep a sum of the 2 * radius + 1 samples around the current one, and slide it: the cost does not depend
 * on the radius.
 */
static void blur_row(const uint8_t *in, uint8_t *out, size_t width, ptrdiff_t radius)
{
        uint32_t sums[CHANNELS] = { 0 }, samples = (uint32_t)(2 * radius + 1);
        for (ptrdiff_t i = -radius; i <= radius; i++)
                for (size_t c = 0; c < CHANNELS; c++)
                        sums[c] += in[clamp(i, width) * CHANNELS + c];
        for (size_t x = 0; x < width; x++) {
                const uint8_t *enters = in + clamp((ptrdiff_t)x + radius + 1, width) * CHANNELS;
                const uint8_t *leaves = in + clamp((ptrdiff_t)x - radius, width) * CHANNELS;
                for (size_t c = 0; c < CHANNELS; c++) {
                        out[x * CHANNELS + c] = (uint8_t)(sums[c] / samples);
                        sums[c] += (uint32_t)enters[c] - leaves[c];
                }
        }
}

/* All columns at once, row by row, as the memory lies. sums: one per column and channel, zeroed. */
static void blur_columns(const uint8_t *in, uint8_t *out, uint32_t *sums, size_t stride, size_t height,
                         ptrdiff_t radius)
{
        uint32_t samples = (uint32_t)(2 * radius + 1);
        for (ptrdiff_t i = -radius; i <= radius; i++)
                for (size_t x = 0; x < stride; x++)
                        sums[x] += in[clamp(i, height) * stride + x];
        for (size_t y = 0; y < height; y++) {
                const uint8_t *enters = in + clamp((ptrdiff_t)y + radius + 1, height) * stride;
                const uint8_t *leaves = in + clamp((ptrdiff_t)y - radius, height) * stride;
                for (size_t x = 0; x < stride; x++) {
                        out[y * stride + x] = (uint8_t)(sums[x] / samples);
                        sums[x] += (uint32_t)enters[x] - leaves[x];
                }
        }
}

int filter_blur(const uint8_t *in, uint8_t *out, size_t width, size_t height, size_t radius)
{
        size_t stride = width * CHANNELS;
        uint8_t *rows = malloc(stride * height);
        uint32_t *sums = calloc(stride, sizeof *sums);
        int error = rows && sums ? 0 : -ENOMEM;
        if (!error) {
                for (size_t y = 0; y < height; y++)
                        blur_row(in + y * stride, rows + y * stride, width, (ptrdiff_t)radius);
                blur_columns(rows, out, sums, stride, height, (ptrdiff_t)radius);
        }
        free(rows);
        free(sums);
        return error;
}

static int brightness(const uint8_t *pixel)
{
        return (77 * pixel[0] + 150 * pixel[1] + 29 * pixel[2]) >> 8;
}

void filter_edges(const uint8_t *in, uint8_t *out, size_t width, size_t height)
{
        size_t stride = width * CHANNELS;
        for (size_t y = 0; y < height; y++) {
                const uint8_t *rows[3] = { in + (y ? y - 1 : 0) * stride, in + y * stride,
                                           in + (y + 1 < height ? y + 1 : y) * stride };
                for (size_t x = 0; x < width; x++) {
                        size_t left = (x ? x - 1 : 0) * CHANNELS, here = x * CHANNELS;
                        size_t right = (x + 1 < width ? x + 1 : x) * CHANNELS;
                        int across = 0, down = 0;
                        for (int i = 0; i < 3; i++)
                                across += (i == 1 ? 2 : 1) * (brightness(rows[i] + right) - brightness(rows[i] + left));
                        down += brightness(rows[2] + left) + 2 * brightness(rows[2] + here) +
                                brightness(rows[2] + right);
                        down -= brightness(rows[0] + left) + 2 * brightness(rows[0] + here) +
                                brightness(rows[0] + right);
                        float gradient = sqrtf((float)(across * across + down * down));
                        memset(out + y * stride + here, gradient < 255 ? (int)gradient : 255, CHANNELS - 1);
                        out[y * stride + here + CHANNELS - 1] = 255;
                }
        }
}
