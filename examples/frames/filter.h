/* Filters on RGBA pixels, 4 bytes each, rows without gaps. They know nothing of RPC; in and out must not overlap. */
#ifndef FRAMES_FILTER_H
#define FRAMES_FILTER_H

#include <stddef.h>
#include <stdint.h>

/* Box blur; beyond the border the outermost pixel is repeated. Returns 0 or -ENOMEM. */
int filter_blur(const uint8_t *in, uint8_t *out, size_t width, size_t height, size_t radius);

/* The Sobel gradient of the brightness; opaque. */
void filter_edges(const uint8_t *in, uint8_t *out, size_t width, size_t height);

#endif
