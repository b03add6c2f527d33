#include <stdio.h>
int call_keeps_zf(void), call_keeps_cf(void), call_odd_registers(void), call_keeps_df(void);

int main(void) {
    int zf = 0, cf = 0, registers = 0, df = 0;
    for (int i = 0; i < 4000; i++) {
        zf += !call_keeps_zf();
        cf += !call_keeps_cf();
        registers += !call_odd_registers();
        df += !call_keeps_df();
    }
    printf("lost: ZF %d, CF %d, registers %d, DF %d\n", zf, cf, registers, df);
    return 0;
}
