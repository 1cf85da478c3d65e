/* frames-server [OPTION…]: the filters of frames.proto. */
#include "common/report.h"
#include "common/serve.h"
#include "common/shared_memory.h"
#include "filter.h"
#include "frames.baton.h"
#include <baton/baton.h>
#include <inttypes.h>

/* Baton's own limit for a message is 64 MiB: the largest image stays below it. */
enum { MAX_SIDE = 4000, MAX_RADIUS = 100, PIXEL_SIZE = 4 };

static bool refuse_image(baton_call *call, const Frames__Image *image)
{
        if (!image) {
                baton_call_fail(call, BATON_INVALID_ARGUMENT, "image is missing");
                return true;
        }
        if (image->width == 0 || image->width > MAX_SIDE || image->height == 0 || image->height > MAX_SIDE) {
                baton_call_fail(call, BATON_INVALID_ARGUMENT,
                                "the image has %" PRIu32 " x %" PRIu32 " pixels: each side must have 1 to %d",
                                image->width, image->height, MAX_SIDE);
                return true;
        }
        size_t size = (size_t)image->width * image->height * PIXEL_SIZE;
        if (image->pixels.len != size) {
                baton_call_fail(call, BATON_INVALID_ARGUMENT,
                                "image.pixels has %zu bytes: %" PRIu32 " x %" PRIu32 " pixels of %d bytes are %zu",
                                image->pixels.len, image->width, image->height, PIXEL_SIZE, size);
                return true;
        }
        return false;
}

/* A reply with an image as large as this one, its pixels in shared memory and not yet filled in. NULL: the call has
 * been failed. */
static Frames__FilterReply *new_reply(baton_call *call, const Frames__Image *like)
{
        Frames__FilterReply *reply = baton_call_scratch(call, sizeof *reply);
        Frames__Image *image = baton_call_scratch(call, sizeof *image);
        uint8_t *pixels = baton_call_alloc(call, like->pixels.len);
        if (!reply || !image || !pixels) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "no room for the filtered image: %s", baton_error());
                return NULL;
        }
        frames__filter_reply__init(reply);
        frames__image__init(image);
        image->width = like->width;
        image->height = like->height;
        image->pixels = (ProtobufCBinaryData){ like->pixels.len, pixels };
        reply->image = image;
        reply->bytes_copied = in_shared_memory(like->pixels.data) ? 0 : like->pixels.len;
        return reply;
}

static void blur(baton_call *call, const Frames__BlurRequest *request, void *context)
{
        (void)context;
        const Frames__Image *image = request->image;
        if (refuse_image(call, image))
                return;
        if (request->radius == 0 || request->radius > MAX_RADIUS) {
                baton_call_fail(call, BATON_INVALID_ARGUMENT, "radius is %" PRIu32 ": it must be 1 to %d",
                                request->radius, MAX_RADIUS);
                return;
        }
        Frames__FilterReply *reply = new_reply(call, image);
        if (!reply)
                return;
        if (filter_blur(image->pixels.data, reply->image->pixels.data, image->width, image->height, request->radius) <
            0)
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "the server is out of memory: try a smaller image");
        else
                frames_blur_reply(call, reply);
}

static void edges(baton_call *call, const Frames__EdgesRequest *request, void *context)
{
        (void)context;
        const Frames__Image *image = request->image;
        if (refuse_image(call, image))
                return;
        Frames__FilterReply *reply = new_reply(call, image);
        if (!reply)
                return;
        filter_edges(image->pixels.data, reply->image->pixels.data, image->width, image->height);
        frames_edges_reply(call, reply);
}

static const frames_handlers handlers = { .blur = blur, .edges = edges };

int main(int argc, char **argv)
{
        struct serve_arguments arguments;
        serve_parse(&arguments, argc, argv, "shm:frames");
        baton_server *server = baton_server_new(&arguments.options);
        if (!server || frames_register(server, &handlers, NULL) < 0)
                die("%s", baton_error());
        serve_until_signal(server, &arguments);
        baton_server_free(server);
        return 0;
}
