// Makes the vectors beside this file with Intel's ISA-L (made with libisal 2.30.0, Debian 12):
//   cc generate.c -o generate -lisal && ./generate
// Each file holds the m parity chunks, one behind the other, of k data chunks of LEN bytes.
#include <isa-l.h>
#include <stdio.h>
#include <stdlib.h>
#define LEN 200
int main(void) {
    int g[][2] = {{1,1},{1,3},{2,1},{3,3},{4,2},{5,3},{6,3},{10,4},{16,16},{20,12},{31,1}};
    for (unsigned n = 0; n < sizeof g / sizeof g[0]; n++) {
        int k = g[n][0], m = g[n][1];
        unsigned char *a = malloc((k + m) * k), *tables = malloc(32 * k * m);
        unsigned char *data[32], *parity[32];
        gf_gen_cauchy1_matrix(a, k + m, k);
        ec_init_tables(k, m, a + k * k, tables);
        for (int i = 0; i < k; i++) {
            data[i] = malloc(LEN);
            for (int j = 0; j < LEN; j++) data[i][j] = (i * 131 + j * 29 + (j >> 3) * 7 + 17) & 255;
        }
        for (int i = 0; i < m; i++) parity[i] = malloc(LEN);
        ec_encode_data(LEN, k, m, tables, data, parity);
        char name[64]; sprintf(name, "cauchy-%d+%d.bin", k, m);
        FILE *f = fopen(name, "wb");
        for (int i = 0; i < m; i++) fwrite(parity[i], 1, LEN, f);
        fclose(f);
    }
}
