/* Convolutions over rows of channels, one thread a call: directly, or by Fourier transforms of blocks.
 *
 * A tensor is rows of `channels` numbers, a row a base. Of a dilated convolution every phase (each dilation-th row)
 * is a dense one; phases are cut into blocks of `size` input rows that give `size - taps + 1` output rows. A block is
 * loaded (affine and activation on the way), convolved, and stored (bias, residual and activation on the way).
 *
 * The Fourier path (overlap-save) costs no more for long kernels than for short ones. Two halves of a group of
 * 2 * LANES channels are the real and imaginary part of one complex transform, so that every instruction works on
 * LANES channels. What a block gives depends on its rows alone: not on the batch, nor on threads.
 *
 * Built once for each instruction set with its own SUFFIX and LANES; real is float or double.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef LANES
#define LANES 16
#endif
#ifndef REAL
#define REAL float
#define BITS int32_t
#endif
#ifndef SUFFIX
#define SUFFIX
#endif
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

typedef REAL real;
typedef real vec __attribute__((vector_size(sizeof(real) * LANES), aligned(sizeof(real)), may_alias));
typedef BITS mask __attribute__((vector_size(sizeof(real) * LANES), aligned(sizeof(real)), may_alias));

#define GROUP (2 * LANES) /* channels of one complex transform */
#define INLINE static inline __attribute__((always_inline))

/* Rows of a tensor that an altered window sees: of the reference, changed ones, of the reference again. A row's
 * pointer is `from[i] + row * channels`; rows outside [0, length) are zero. */
typedef struct {
    const real *from[3];
    int64_t changed, same, length; /* rows below `changed` are from[0], below `same` from[1] */
} Rows;

typedef struct {
    Rows input, residual;  /* the residual has length 0 where there is none */
    int64_t first;         /* input row of the first tap for output row 0; may be negative */
    int64_t residual_first;
    int64_t outputs;       /* rows */
    real *output;
} Item;

typedef struct {
    int64_t taps, dilation, inputs, channels; /* channels in and out, multiples of GROUP */
    int64_t size;                             /* rows of a block */
    int64_t is_fourier;
    const real *weights; /* direct: (taps, inputs, channels); Fourier: (size/2 + 1, inputs, 2, channels) */
    const real *bias;    /* (channels) */
    const real *scale, *shift; /* (inputs), or null: of the affine before the activation of the input */
    const real *twiddles;      /* Fourier: exp(-2 pi i j / size), (size, 2) */
    const int64_t *places;     /* Fourier: where frequency k stands after the transform */
    real input_slope, output_slope; /* of leaky rectifiers; 1 is none */
} Layer;

INLINE vec fill(real x) { return x - (vec){0}; }
INLINE vec *at(real *p) { return (vec *)p; }
INLINE vec get(const real *p) { return *(const vec *)p; }

INLINE vec rectified(vec x, real slope) {
    vec low = x * slope;
    mask above = x > low;
    return (vec)((above & (mask)x) | (~above & (mask)low));
}

INLINE const real *row_of(const Rows *rows, int64_t row, int64_t channels) {
    if (row < 0 || row >= rows->length) return 0;
    return rows->from[(row >= rows->changed) + (row >= rows->same)] + row * channels;
}

/* ---- transforms of `size` complex vectors; radix 4, then a last pass of radix 8 or 4 without factors ---- */

typedef struct { vec re, im; } cvec;

INLINE cvec load(const real *z, int64_t i) { return (cvec){get(z + i * GROUP), get(z + i * GROUP + LANES)}; }
INLINE void keep(real *z, int64_t i, cvec x) { *at(z + i * GROUP) = x.re; *at(z + i * GROUP + LANES) = x.im; }
INLINE cvec plus(cvec a, cvec b) { return (cvec){a.re + b.re, a.im + b.im}; }
INLINE cvec minus(cvec a, cvec b) { return (cvec){a.re - b.re, a.im - b.im}; }
INLINE cvec turned(cvec a, int sign) { /* by -i where sign is 1, by i where it is -1 */
    return sign > 0 ? (cvec){a.im, -a.re} : (cvec){-a.im, a.re};
}
INLINE cvec times(cvec a, real re, real im) { return (cvec){a.re * re - a.im * im, a.re * im + a.im * re}; }

INLINE void four(cvec *a, int sign) {
    cvec s = plus(a[0], a[2]), d = minus(a[0], a[2]), t = plus(a[1], a[3]), e = turned(minus(a[1], a[3]), sign);
    a[0] = plus(s, t), a[1] = plus(d, e), a[2] = minus(s, t), a[3] = minus(d, e);
}

INLINE void eight(cvec *a, int sign) {
    const real h = (real)0.70710678118654752440;
    cvec even[4] = {a[0], a[2], a[4], a[6]}, odd[4] = {a[1], a[3], a[5], a[7]};
    four(even, sign), four(odd, sign);
    odd[1] = times(odd[1], h, sign > 0 ? -h : h);
    odd[2] = turned(odd[2], sign);
    odd[3] = times(odd[3], -h, sign > 0 ? -h : h);
    for (int i = 0; i < 4; i++) a[i] = plus(even[i], odd[i]), a[i + 4] = minus(even[i], odd[i]);
}

INLINE void last_pass(real *z, int64_t size, int radix, int sign) {
    for (int64_t i = 0; i < size; i += radix) {
        cvec a[8];
        for (int j = 0; j < radix; j++) a[j] = load(z, i + j);
        if (radix == 8) eight(a, sign); else four(a, sign);
        for (int j = 0; j < radix; j++) keep(z, i + j, a[j]);
    }
}

INLINE int last_radix(int64_t size) { /* 4^n or 8 * 4^n */
    while (size > 8) size /= 4;
    return (int)size;
}

static void forward(real *z, int64_t size, const real *w) {
    int radix = last_radix(size);
    for (int64_t span = size; span > radix; span /= 4) {
        int64_t q = span / 4, step = size / span;
        for (int64_t j = 0; j < q; j++) {
            const real *w1 = w + 2 * j * step, *w2 = w + 4 * j * step, *w3 = w + 6 * j * step;
            for (int64_t i = j; i < size; i += span) {
                cvec a[4] = {load(z, i), load(z, i + q), load(z, i + 2 * q), load(z, i + 3 * q)};
                four(a, 1);
                keep(z, i, a[0]);
                keep(z, i + q, times(a[1], w1[0], w1[1]));
                keep(z, i + 2 * q, times(a[2], w2[0], w2[1]));
                keep(z, i + 3 * q, times(a[3], w3[0], w3[1]));
            }
        }
    }
    if (radix == 8) last_pass(z, size, 8, 1); else last_pass(z, size, 4, 1);
}

static void backward(real *z, int64_t size, const real *w) {
    int radix = last_radix(size);
    if (radix == 8) last_pass(z, size, 8, -1); else last_pass(z, size, 4, -1);
    for (int64_t span = radix * 4; span <= size; span *= 4) {
        int64_t q = span / 4, step = size / span;
        for (int64_t j = 0; j < q; j++) {
            const real *w1 = w + 2 * j * step, *w2 = w + 4 * j * step, *w3 = w + 6 * j * step;
            for (int64_t i = j; i < size; i += span) {
                cvec a[4] = {load(z, i), times(load(z, i + q), w1[0], -w1[1]),
                             times(load(z, i + 2 * q), w2[0], -w2[1]), times(load(z, i + 3 * q), w3[0], -w3[1])};
                four(a, -1);
                for (int k = 0; k < 4; k++) keep(z, i + k * q, a[k]);
            }
        }
    }
}

/* ---- products ---- */

#ifndef FEW_REGISTERS
#define ROWS 6    /* of a Fourier product: 4 sums each */
#define DIRECT 12 /* of a direct product: 2 sums each */
#else
#define ROWS 2
#define DIRECT 4
#endif

/* Complex rows x (rows of `inputs` real, then imaginary parts, `stride` apart) times w, for one group of channels. */
INLINE void product(int rows, const real *x, int64_t stride, const real *w, int64_t inputs, int64_t channels, real *y,
                    int64_t y_stride) {
    vec re[ROWS][2], im[ROWS][2];
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2; h++) re[r][h] = im[r][h] = fill(0);
    for (int64_t i = 0; i < inputs; i++, w += 2 * channels) {
        vec w_re[2] = {get(w), get(w + LANES)}, w_im[2] = {get(w + channels), get(w + channels + LANES)};
        for (int r = 0; r < rows; r++) {
            vec a = fill(x[r * stride + i]), b = fill(x[r * stride + inputs + i]);
            for (int h = 0; h < 2; h++) {
                re[r][h] += a * w_re[h], im[r][h] += a * w_im[h];
                re[r][h] -= b * w_im[h], im[r][h] += b * w_re[h];
            }
        }
    }
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2; h++) {
            *at(y + r * y_stride + h * LANES) = re[r][h];
            *at(y + r * y_stride + channels + h * LANES) = im[r][h];
        }
}

/* Dense convolution of rows, for one group of channels: `rows` outputs. */
INLINE void dense(int rows, const real *x, const real *w, int64_t taps, int64_t inputs, int64_t channels, real *y) {
    vec sum[DIRECT][2];
    for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = fill(0);
    for (int64_t t = 0; t < taps * inputs; t++, w += channels) {
        vec w0 = get(w), w1 = get(w + LANES);
        for (int r = 0; r < rows; r++) {
            vec a = fill(x[r * inputs + t]); /* rows follow each other: tap t / inputs of row r is row r + t / inputs */
            sum[r][0] += a * w0, sum[r][1] += a * w1;
        }
    }
    for (int r = 0; r < rows; r++) *at(y + r * channels) = sum[r][0], *at(y + r * channels + LANES) = sum[r][1];
}

/* ---- blocks ---- */

typedef struct { const Item *item; int64_t start; int64_t outputs; } Block; /* first output row; rows, a dilation apart */

/* The row after this one is of the next phase, soon wanted, and too far from what is read now for the processor to
 * fetch by itself. */
INLINE void fetch(const real *row, int64_t n, int is_written) {
    for (int64_t c = 0; c < n; c += 64 / (int64_t)sizeof(real))
        if (is_written) __builtin_prefetch(row + c, 1, 2); else __builtin_prefetch(row + c, 0, 2);
}

/* The rows that a block's outputs see; after them zeros, so that nothing else decides what it gives. */
static void load_block(const Layer *layer, const Block *block, int64_t rows, real *to) {
    int64_t row = block->item->first + block->start, inputs = layer->inputs, seen = block->outputs + layer->taps - 1;
    if (seen < rows) memset(to + seen * inputs, 0, (rows - seen) * inputs * sizeof(real));
    for (int64_t i = 0; i < rows && i < seen; i++, row += layer->dilation, to += inputs) {
        const real *from = row_of(&block->item->input, row, inputs);
        if (!from) {
            memset(to, 0, inputs * sizeof(real));
            continue;
        }
        fetch(from + inputs, inputs, 0);
        for (int64_t c = 0; c < inputs; c += LANES) {
            vec x = get(from + c);
            if (layer->scale) x = x * get(layer->scale + c) + get(layer->shift + c);
            *at(to + c) = layer->input_slope == 1 ? x : rectified(x, layer->input_slope);
        }
    }
}

/* Channels [group, group + GROUP) of a block's outputs, which stand `stride` apart. */
INLINE void store_block(const Layer *layer, const Block *block, const real *y, int64_t stride, int64_t group) {
    const Item *item = block->item;
    for (int64_t i = 0; i < block->outputs; i++) {
        int64_t row = block->start + i * layer->dilation;
        real *to = item->output + row * layer->channels + group;
        const real *more = row_of(&item->residual, item->residual_first + row, layer->channels);
        fetch(to + layer->channels, GROUP, 1);
        if (more) fetch(more + layer->channels + group, GROUP, 0);
        for (int64_t c = 0; c < GROUP; c += LANES) {
            vec x = get(y + i * stride + c) + get(layer->bias + group + c);
            if (more) x += get(more + group + c);
            *at(to + c) = layer->output_slope == 1 ? x : rectified(x, layer->output_slope);
        }
    }
}

static void run_direct(const Layer *layer, const Block *block, real *x, real *y) {
    int64_t inputs = layer->inputs, channels = layer->channels, outputs = block->outputs, taps = layer->taps;
    load_block(layer, block, outputs + taps - 1, x);
    for (int64_t g = 0; g < channels; g += GROUP)
        for (int64_t r = 0; r < outputs;) {
            const real *from = x + r * inputs;
            real *to = y + r * channels + g;
            int64_t left = outputs - r;
            if (left >= DIRECT) dense(DIRECT, from, layer->weights + g, taps, inputs, channels, to), r += DIRECT;
            else if (left >= 4) dense(4, from, layer->weights + g, taps, inputs, channels, to), r += 4;
            else if (left >= 2) dense(2, from, layer->weights + g, taps, inputs, channels, to), r += 2;
            else dense(1, from, layer->weights + g, taps, inputs, channels, to), r += 1;
        }
    for (int64_t g = 0; g < channels; g += GROUP) store_block(layer, block, y + g, channels, g);
}

/* Blocks together, so that a frequency's weights are read once for all. `z` one transform, `x` and `y` spectra. */
static void run_fourier(const Layer *layer, const Block *blocks, int64_t n, real *rows, real *z, real *x, real *y) {
    int64_t size = layer->size, inputs = layer->inputs, channels = layer->channels, half = size / 2 + 1;
    int64_t x_stride = 2 * inputs, y_stride = 2 * channels;
    const int64_t *places = layer->places;
    for (int64_t b = 0; b < n; b++) {
        load_block(layer, blocks + b, size, rows);
        for (int64_t g = 0; g < inputs; g += GROUP) {
            const real *source = rows;
            if (inputs != GROUP) {
                for (int64_t i = 0; i < size; i++) memcpy(z + i * GROUP, rows + i * inputs + g, GROUP * sizeof(real));
                source = z;
            }
            real *work = (real *)source;
            forward(work, size, layer->twiddles);
            for (int64_t k = 0; k < half; k++) {
                cvec p = load(work, places[k]), q = load(work, places[(size - k) % size]);
                real *to = x + (k * n + b) * x_stride + g;
                *at(to) = p.re + q.re, *at(to + inputs) = p.im - q.im;
                *at(to + LANES) = p.im + q.im, *at(to + inputs + LANES) = q.re - p.re;
            }
        }
    }
    for (int64_t k = 0; k < half; k++) {
        const real *w = layer->weights + k * inputs * 2 * channels;
        for (int64_t g = 0; g < channels; g += GROUP) {
            for (int64_t b = 0; b < n;) {
                const real *from = x + (k * n + b) * x_stride;
                real *to = y + (k * n + b) * y_stride + g;
                int64_t rows = n - b < ROWS ? n - b : ROWS;
                switch (rows) { /* a function of its own for each: the sums stay in registers */
                    case 1: product(1, from, x_stride, w + g, inputs, channels, to, y_stride); break;
                    case 2: product(2, from, x_stride, w + g, inputs, channels, to, y_stride); break;
#if ROWS > 2
                    case 3: product(3, from, x_stride, w + g, inputs, channels, to, y_stride); break;
                    case 4: product(4, from, x_stride, w + g, inputs, channels, to, y_stride); break;
                    case 5: product(5, from, x_stride, w + g, inputs, channels, to, y_stride); break;
                    default: product(6, from, x_stride, w + g, inputs, channels, to, y_stride);
#endif
                }
                b += rows;
            }
        }
    }
    for (int64_t b = 0; b < n; b++)
        for (int64_t g = 0; g < channels; g += GROUP) {
            for (int64_t k = 0; k < half; k++) {
                const real *from = y + (k * n + b) * y_stride + g;
                cvec p = {get(from), get(from + channels)}, q = {get(from + LANES), get(from + channels + LANES)};
                keep(z, places[k], (cvec){p.re - q.im, p.im + q.re});
                if (k && 2 * k != size) keep(z, places[size - k], (cvec){p.re + q.im, q.re - p.im});
            }
            backward(z, size, layer->twiddles);
            store_block(layer, blocks + b, z, GROUP, g);
        }
}

/* Every item through the layer; 0, or 1 where there is no memory. */
int JOIN(convolve, SUFFIX)(const Layer *layer, const Item *items, int64_t n_items, int64_t together) {
    static __thread real *memory;
    static __thread size_t held;
    int64_t size = layer->size, inputs = layer->inputs, channels = layer->channels, half = size / 2 + 1;
    int64_t gives = size - layer->taps + 1;
    int64_t rows = size * inputs, z = size * (layer->is_fourier ? GROUP : channels);
    int64_t x = layer->is_fourier ? together * half * 2 * inputs : 0;
    int is_in_place = inputs == channels && channels == GROUP; /* a product has read its rows before it writes them */
    int64_t y = layer->is_fourier && !is_in_place ? together * half * 2 * channels : 0;
    size_t wanted = (rows + z + x + y) * sizeof(real);
    if (wanted > held) {
        free(memory);
        held = 0;
        if (posix_memalign((void **)&memory, 64, wanted)) { memory = 0; return 1; }
        held = wanted;
    }
    real *z_at = memory + rows, *x_at = z_at + z, *y_at = is_in_place ? x_at : x_at + x;
    Block blocks[together];
    int64_t n = 0;
    for (int64_t i = 0; i < n_items; i++)
        for (int64_t phase = 0; phase < layer->dilation && phase < items[i].outputs; phase++) {
            int64_t left = (items[i].outputs - phase + layer->dilation - 1) / layer->dilation;
            for (int64_t start = phase; left > 0; start += gives * layer->dilation, left -= gives) {
                blocks[n++] = (Block){items + i, start, left < gives ? left : gives};
                if (!layer->is_fourier) run_direct(layer, blocks, memory, z_at), n = 0;
                else if (n == together) {
                    run_fourier(layer, blocks, n, memory, z_at, x_at, y_at);
                    n = 0;
                }
            }
        }
    if (n) run_fourier(layer, blocks, n, memory, z_at, x_at, y_at);
    return 0;
}
