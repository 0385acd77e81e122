/* Sums of similarities 1 / (1 + distance) over images: what panels.py does by operations of torch's, in one pass.
 *
 * A panel is compared column by column: K columns with R rows, whose channels are the first R of the columns.
 * Each thread takes columns of its own, so that the number of threads does not change a bit of the result. */

#include <math.h>
#include <stdint.h>

#define ROWS 64
#define LANES 16

static float squared_distance(const float *a, const float *b, int64_t positions, int64_t stride)
{
    float lanes[LANES] = {0}, sum = 0;
    int64_t position = 0;
    if (stride == 1)
        for (; position + LANES <= positions; position += LANES)
            for (int lane = 0; lane < LANES; lane++) {
                float difference = a[position + lane] - b[position + lane];
                lanes[lane] += difference * difference;
            }
    for (; position < positions; position++) {
        float difference = a[position * stride] - b[position * stride];
        lanes[position % LANES] += difference * difference;
    }
    for (int lane = 0; lane < LANES; lane++)
        sum += lanes[lane];
    return sum;
}

static void add_row(const float *squares, double *sums, int64_t rows)
{
    for (int64_t row = 0; row < rows; row++)
        sums[row] += (double)(1.0f / (1.0f + sqrtf(squares[row])));
}

/* From products: (images, columns, rows), minus two of them. Pairs whose squared distance is below a share `near` of
 * the squared norm of the row's channel are measured by their direct difference. A channel is not compared with itself:
 * its place in the products is overwritten. */
void foad_add_products(float *products, const float *norms, int64_t norm_stride, const float *maps,
                       int64_t image_stride, int64_t channel_stride, int64_t position_stride, int64_t images,
                       int64_t columns, int64_t rows, int64_t positions, float near, double *sums, int threads)
{
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t column = 0; column < columns; column++) {
        double total[ROWS] = {0};
        float squares[ROWS];
        for (int64_t image = 0; image < images; image++) {
            float *product = products + (image * columns + column) * rows;
            const float *ours = norms + image * norm_stride;
            const float theirs = ours[column];
            int found = 0;
            if (column < rows)
                product[column] = INFINITY;
            for (int64_t row = 0; row < rows; row++) {
                squares[row] = product[row] + ours[row] + theirs;
                found |= squares[row] < ours[row] * near;
            }
            if (found) {
                const float *here = maps + image * image_stride;
                for (int64_t row = 0; row < rows; row++)
                    if (squares[row] < ours[row] * near)
                        squares[row] = squared_distance(here + column * channel_stride, here + row * channel_stride,
                                                        positions, position_stride);
            }
            add_row(squares, total, rows);
        }
        for (int64_t row = 0; row < rows; row++)
            sums[column * rows + row] += total[row];
    }
}

/* From maps of few positions, (images, positions, channels), of which the panel's columns are the last. */
void foad_add_differences(const float *maps, int64_t image_stride, int64_t position_stride, int64_t images,
                          int64_t columns, int64_t rows, int64_t positions, double *sums, int threads)
{
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t column = 0; column < columns; column++) {
        double total[ROWS] = {0};
        for (int64_t image = 0; image < images; image++) {
            float squares[ROWS] = {0};
            for (int64_t position = 0; position < positions; position++) {
                const float *ours = maps + image * image_stride + position * position_stride;
                const float theirs = ours[column];
                for (int64_t row = 0; row < rows; row++) {
                    float difference = theirs - ours[row];
                    squares[row] += difference * difference;
                }
            }
            add_row(squares, total, rows);
        }
        for (int64_t row = 0; row < rows; row++)
            sums[column * rows + row] += total[row];
    }
}
