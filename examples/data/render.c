/*
 * Renders baton.png, the picture that the frames example filters: a relay baton over a running track, by sphere tracing
 * of signed distances. Build and run: cc -O3 -fopenmp render.c -lpng -lm && ./a.out baton.png
 */
#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 960, HEIGHT = 640, SAMPLES = 4 /* per side of a pixel */, MAX_STEPS = 220 };
enum material { TRACK, BATON, RING, SPHERE, SKY };

typedef struct vector {
        double x, y, z;
} vector;

struct hit {
        double distance;
        enum material material;
};

static vector add(vector a, vector b)
{
        return (vector){ a.x + b.x, a.y + b.y, a.z + b.z };
}

static vector scale(vector a, double s)
{
        return (vector){ a.x * s, a.y * s, a.z * s };
}

static vector subtract(vector a, vector b)
{
        return add(a, scale(b, -1));
}

static double dot(vector a, vector b)
{
        return a.x * b.x + a.y * b.y + a.z * b.z;
}

static vector normalize(vector a)
{
        return scale(a, 1 / sqrt(dot(a, a)));
}

static vector mix(vector a, vector b, double t)
{
        return add(scale(a, 1 - t), scale(b, t));
}

static double clamp(double x, double low, double high)
{
        return fmin(fmax(x, low), high);
}

static double smooth(double low, double high, double x)
{
        double t = clamp((x - low) / (high - low), 0, 1);
        return t * t * (3 - 2 * t);
}

/* ---- the scene: y is up, the track lies at y = 0 -------------------------------------------------------------- */

static const vector baton_from = { -2.1, 0.75, 0.5 }, baton_to = { 2.0, 2.35, -0.6 };
static const vector sun = { -0.55, 0.42, -0.35 };

/* Where along the baton's axis the point is, 0 to 1. */
static double along(vector p)
{
        vector axis = subtract(baton_to, baton_from);
        return clamp(dot(subtract(p, baton_from), axis) / dot(axis, axis), 0, 1);
}

static double baton_distance(vector p)
{
        vector axis = subtract(baton_to, baton_from);
        double t = clamp(along(p), 0.02, 0.98);
        vector off = subtract(p, add(baton_from, scale(axis, t)));
        return sqrt(dot(off, off)) - 0.3;
}

/* Rings of light around the baton: the hand-over. */
static double ring_distance(vector p)
{
        vector axis = subtract(baton_to, baton_from), direction = normalize(axis);
        double nearest = 1e9;
        for (int i = 0; i < 3; i++) {
                vector off = subtract(p, add(baton_from, scale(axis, 0.3 + 0.2 * i)));
                double height = dot(off, direction);
                double radial = sqrt(fmax(0, dot(off, off) - height * height)) - (0.62 + 0.16 * i);
                nearest = fmin(nearest, sqrt(radial * radial + height * height) - 0.035);
        }
        return nearest;
}

static double sphere_distance(vector p)
{
        vector off = { p.x - round(clamp(p.x / 2.6, -2, 3)) * 2.6, p.y - 0.55, p.z + 3.3 };
        return sqrt(dot(off, off)) - 0.55;
}

static struct hit scene(vector p)
{
        struct hit nearest = { p.y, TRACK };
        const struct hit others[] = {
                { baton_distance(p), BATON },
                { ring_distance(p), RING },
                { sphere_distance(p), SPHERE },
        };
        for (int i = 0; i < 3; i++)
                if (others[i].distance < nearest.distance)
                        nearest = others[i];
        return nearest;
}

static struct hit trace(vector origin, vector direction)
{
        double t = 0;
        for (int i = 0; i < MAX_STEPS && t < 120; i++) {
                struct hit hit = scene(add(origin, scale(direction, t)));
                if (hit.distance < 1e-4 * (1 + t))
                        return (struct hit){ t, hit.material };
                t += hit.distance * 0.95;
        }
        return (struct hit){ t, SKY };
}

static vector normal(vector p)
{
        const double e = 1e-4;
        vector n = {
                scene((vector){ p.x + e, p.y, p.z }).distance - scene((vector){ p.x - e, p.y, p.z }).distance,
                scene((vector){ p.x, p.y + e, p.z }).distance - scene((vector){ p.x, p.y - e, p.z }).distance,
                scene((vector){ p.x, p.y, p.z + e }).distance - scene((vector){ p.x, p.y, p.z - e }).distance,
        };
        return normalize(n);
}

/* ---- light and colour ----------------------------------------------------------------------------------------- */

static double shadow(vector p, vector light)
{
        double light_left = 1;
        for (double t = 0.02; t < 20;) {
                double distance = scene(add(p, scale(light, t))).distance;
                light_left = fmin(light_left, 14 * distance / t);
                if (light_left < 0.01)
                        return 0;
                t += clamp(distance, 0.02, 0.4);
        }
        return light_left;
}

static double occlusion(vector p, vector n)
{
        double dark = 0, weight = 1;
        for (int i = 1; i <= 5; i++) {
                dark += weight * fmax(0, 0.12 * i - scene(add(p, scale(n, 0.12 * i))).distance);
                weight *= 0.7;
        }
        return clamp(1 - 0.9 * dark, 0, 1);
}

static vector sky(vector direction)
{
        double up = clamp(direction.y, 0, 1);
        vector colour = mix((vector){ 1.0, 0.56, 0.30 }, (vector){ 0.16, 0.22, 0.48 }, pow(up, 0.45));
        double towards_sun = fmax(0, dot(direction, normalize(sun)));
        colour = add(colour, scale((vector){ 1.0, 0.62, 0.3 }, 0.5 * pow(towards_sun, 24)));
        return add(colour, scale((vector){ 1.0, 0.9, 0.7 }, 4 * pow(towards_sun, 900)));
}

/* Cheap noise of a point of the plane, 0 to 1. */
static double grain(double x, double z)
{
        double n = sin(floor(x * 40) * 12.9898 + floor(z * 40) * 78.233) * 43758.5453;
        return n - floor(n);
}

static vector track_colour(vector p)
{
        double fade = 1 / (1 + 0.02 * (p.x * p.x + p.z * p.z));
        vector clay =
                mix((vector){ 0.55, 0.17, 0.11 }, (vector){ 0.62, 0.22, 0.14 }, 0.5 + fade * (grain(p.x, p.z) - 0.5));
        double lane = fabs(p.z - 2.2 * round(p.z / 2.2));
        double line = 1 - smooth(0.05, 0.07, lane);
        return mix(clay, (vector){ 0.92, 0.9, 0.86 }, line);
}

static vector material_colour(enum material material, vector p)
{
        if (material == TRACK)
                return track_colour(p);
        if (material == RING)
                return (vector){ 0.95, 0.78, 0.25 };
        if (material == SPHERE)
                return (vector){ 0.75, 0.78, 0.82 };
        double stripe = sin(along(p) * 3.14159265 * 7);
        return mix((vector){ 0.08, 0.22, 0.62 }, (vector){ 0.95, 0.95, 0.92 }, smooth(-0.08, 0.08, stripe));
}

static double reflectivity(enum material material, double facing)
{
        double mirror = material == SPHERE ? 0.75 : material == RING ? 0.4 : material == BATON ? 0.08 : 0.02;
        return mirror + (1 - mirror) * 0.6 * pow(1 - facing, 5);
}

static vector shade(vector origin, vector direction, int depth)
{
        struct hit hit = trace(origin, direction);
        if (hit.material == SKY)
                return sky(direction);
        vector p = add(origin, scale(direction, hit.distance)), n = normal(p), light = normalize(sun);
        vector above = add(p, scale(n, 1e-3));
        double lit = fmax(0, dot(n, light)), open = occlusion(p, n);
        if (lit > 0)
                lit *= shadow(above, light);

        vector colour = material_colour(hit.material, p);
        vector brightness = add(scale((vector){ 1.0, 0.78, 0.55 }, 2.1 * lit),
                                scale((vector){ 0.35, 0.42, 0.62 }, open * (0.6 + 0.4 * n.y)));
        vector result = { colour.x * brightness.x, colour.y * brightness.y, colour.z * brightness.z };
        if (hit.material == RING)
                result = add(result, (vector){ 0.35, 0.24, 0.04 });

        vector mirrored = subtract(direction, scale(n, 2 * dot(direction, n)));
        if (depth < 3) {
                double share = reflectivity(hit.material, clamp(-dot(direction, n), 0, 1));
                result = mix(result, shade(above, mirrored, depth + 1), share);
        }
        return mix(result, sky(direction), smooth(14, 90, hit.distance)); /* haze */
}

/* ---- the camera ----------------------------------------------------------------------------------------------- */

static vector pixel(double x, double y)
{
        const vector eye = { 0.9, 1.55, 6.4 }, centre = { 0, 1.3, 0 };
        vector forward = normalize(subtract(centre, eye));
        vector right = normalize((vector){ -forward.z, 0, forward.x });
        vector up = { right.y * forward.z - right.z * forward.y, right.z * forward.x - right.x * forward.z,
                      right.x * forward.y - right.y * forward.x };
        double u = (2 * x - WIDTH) / HEIGHT * 0.52, v = (HEIGHT - 2 * y) / HEIGHT * 0.52;
        return shade(eye, normalize(add(forward, add(scale(right, u), scale(up, v)))), 0);
}

static png_byte encode(double value)
{
        value *= 0.5; /* exposure; then the filmic curve of Narkowicz, which keeps the sun's glare within range */
        value = value * (2.51 * value + 0.03) / (value * (2.43 * value + 0.59) + 0.14);
        return (png_byte)(255 * pow(clamp(value, 0, 1), 1 / 2.2) + 0.5);
}

static void render(png_byte *rgb)
{
#pragma omp parallel for schedule(dynamic)
        for (int y = 0; y < HEIGHT; y++) {
                for (int x = 0; x < WIDTH; x++) {
                        vector sum = { 0, 0, 0 };
                        for (int i = 0; i < SAMPLES; i++)
                                for (int j = 0; j < SAMPLES; j++)
                                        sum = add(sum, pixel(x + (j + 0.5) / SAMPLES, y + (i + 0.5) / SAMPLES));
                        sum = scale(sum, 1.0 / (SAMPLES * SAMPLES));
                        png_byte *out = rgb + 3 * ((size_t)y * WIDTH + (size_t)x);
                        out[0] = encode(sum.x);
                        out[1] = encode(sum.y);
                        out[2] = encode(sum.z);
                }
        }
}

int main(int argc, char **argv)
{
        if (argc != 2) {
                fprintf(stderr, "usage: %s OUT.png\n", argv[0]);
                return 1;
        }
        png_byte *rgb = malloc(3 * (size_t)WIDTH * HEIGHT);
        if (!rgb)
                return 1;
        render(rgb);
        png_image png = { .version = PNG_IMAGE_VERSION, .width = WIDTH, .height = HEIGHT, .format = PNG_FORMAT_RGB };
        if (!png_image_write_to_file(&png, argv[1], 0, rgb, 0, NULL)) {
                fprintf(stderr, "%s: %s\n", argv[1], png.message);
                return 1;
        }
        free(rgb);
        return 0;
}
