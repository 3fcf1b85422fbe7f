/* What a debugger stops: `twice` is called once. */
#include <stdio.h>

__attribute__((noinline)) static int twice(volatile int n) { return 2 * n; }

int main(void) {
    printf("%d\n", twice(21));
    return 0;
}
