/*
 * frames-client [--address ADDRESS] [--blur RADIUS] [--frames N] IN.png OUT.png
 *
 * Has a picture filtered, as often as asked: its edges, or blurred. No pixel is copied: libpng decodes into memory that
 * the server reads, the server writes the result into memory that the client reads, and libpng encodes from there.
 */
#include "common/latency.h"
#include "common/report.h"
#include "common/shared_memory.h"
#include "filter.h"
#include "frames.baton.h"
#include <baton/baton.h>
#include <errno.h>
#include <getopt.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: frames-client [--address ADDRESS] [--blur RADIUS] [--frames N] IN.png OUT.png\n";

struct job {
        const char *address;
        unsigned radius; /* 0: edges */
        unsigned frames;
        const char *in;
        const char *out;
};

struct totals {
        struct latency latency;
        uint64_t moved;
        uint64_t copied;
};

static Frames__Image read_png(baton_channel *channel, const char *path)
{
        png_image png = { .version = PNG_IMAGE_VERSION };
        if (!png_image_begin_read_from_file(&png, path))
                die("%s: %s", path, png.message);
        png.format = PNG_FORMAT_RGBA;

        Frames__Image image = FRAMES__IMAGE__INIT;
        image.width = png.width;
        image.height = png.height;
        image.pixels.len = PNG_IMAGE_SIZE(png);
        image.pixels.data = baton_channel_alloc(channel, image.pixels.len);
        if (!image.pixels.data)
                die("%s: no shared memory for %zu bytes of pixels: %s", path, image.pixels.len, baton_error());
        if (!png_image_finish_read(&png, NULL, image.pixels.data, 0, NULL))
                die("%s: %s", path, png.message);
        return image;
}

static void write_png(const char *path, const Frames__Image *image)
{
        png_image png = {
                .version = PNG_IMAGE_VERSION,
                .width = image->width,
                .height = image->height,
                .format = PNG_FORMAT_RGBA,
        };
        if (!png_image_write_to_file(&png, path, 0, image->pixels.data, 0, NULL))
                die("%s: %s", path, png.message);
}

/* One frame, there and back. The caller releases the reply. */
static const Frames__FilterReply *filter(baton_channel *channel, const struct job *job, Frames__Image *image)
{
        const baton_call_options options = { .timeout_ms = 10000 };
        const Frames__FilterReply *reply = NULL;
        if (job->radius) {
                Frames__BlurRequest request = FRAMES__BLUR_REQUEST__INIT;
                request.image = image;
                request.radius = job->radius;
                die_unless_ok(frames_blur(channel, &request, &reply, &options), "blur");
        } else {
                Frames__EdgesRequest request = FRAMES__EDGES_REQUEST__INIT;
                request.image = image;
                die_unless_ok(frames_edges(channel, &request, &reply, &options), "edges");
        }
        return reply;
}

/* What the server should answer, from the same filter run here. */
static uint8_t *filter_here(const struct job *job, const Frames__Image *image)
{
        uint8_t *pixels = malloc(image->pixels.len);
        if (!pixels)
                die("out of memory for %zu bytes of pixels", image->pixels.len);
        if (!job->radius)
                filter_edges(image->pixels.data, pixels, image->width, image->height);
        else if (filter_blur(image->pixels.data, pixels, image->width, image->height, job->radius) < 0)
                die("out of memory for blurring %zu bytes of pixels", image->pixels.len);
        return pixels;
}

static void check_reply(const Frames__Image *result, const Frames__Image *image, const uint8_t *expected,
                        unsigned frame)
{
        if (!result || result->width != image->width || result->height != image->height ||
            result->pixels.len != image->pixels.len)
                die("frame %u came back with another size", frame);
        if (memcmp(result->pixels.data, expected, result->pixels.len) != 0)
                die("frame %u came back with other pixels than the same filter gives here", frame);
}

static struct totals run(baton_channel *channel, const struct job *job, Frames__Image *image)
{
        struct totals totals = { 0 };
        uint8_t *expected = filter_here(job, image);
        for (unsigned frame = 1; frame <= job->frames; frame++) {
                uint64_t start = now_ns();
                const Frames__FilterReply *reply = filter(channel, job, image);
                latency_add(&totals.latency, now_ns() - start);

                check_reply(reply->image, image, expected, frame);
                totals.moved += image->pixels.len + reply->image->pixels.len;
                totals.copied += reply->bytes_copied;
                if (!in_shared_memory(reply->image->pixels.data))
                        totals.copied += reply->image->pixels.len;
                if (frame == job->frames)
                        write_png(job->out, reply->image);
                baton_release(reply);
        }
        free(expected);
        return totals;
}

static struct job parse(int argc, char **argv)
{
        static const struct option options[] = {
                { "address", required_argument, NULL, 'a' },
                { "blur", required_argument, NULL, 'b' },
                { "frames", required_argument, NULL, 'n' },
                { 0 },
        };
        struct job job = { .address = "shm:frames", .frames = 1 };
        for (int option; (option = getopt_long(argc, argv, "a:b:n:", options, NULL)) != -1;) {
                if (option == 'a')
                        job.address = optarg;
                else if (option == 'b')
                        job.radius = parse_number("--blur", optarg, 1, 100000);
                else if (option == 'n')
                        job.frames = parse_number("--frames", optarg, 1, 1000000);
                else
                        die("%s", usage);
        }
        if (argc - optind != 2)
                die("give the names of two pictures\n%s", usage);
        job.in = argv[optind];
        job.out = argv[optind + 1];
        return job;
}

int main(int argc, char **argv)
{
        struct job job = parse(argc, argv);
        baton_channel *channel = baton_channel_open(job.address, NULL);
        if (!channel)
                die("%s", baton_error());

        Frames__Image image = read_png(channel, job.in);
        struct totals totals = run(channel, &job, &image);
        printf("%zu calls, %u x %u pixels each way, p50 %.1f us, p99 %.1f us; %.3f MB moved, %.3f MB copied\n",
               totals.latency.n, image.width, image.height, latency_percentile_us(&totals.latency, 50),
               latency_percentile_us(&totals.latency, 99), (double)totals.moved / 1e6, (double)totals.copied / 1e6);

        latency_free(&totals.latency);
        baton_channel_free(channel, image.pixels.data);
        baton_channel_close(channel);
        return 0;
}
