/* bench_writer BYTES -- writes a block, waits for a byte of its input, writes so many bytes, and waits for
   the end of its input: a command whose output is nothing but bytes, and whose processor time can be looked
   at before it goes. */
#include <stdlib.h>
#include <unistd.h>

enum { kBlockBytes = 128 << 10 };

static char block[kBlockBytes];

static int write_bytes(unsigned long long left) {
  while (left > 0) {
    const ssize_t written = write(1, block, left < kBlockBytes ? (size_t)left : kBlockBytes);
    if (written <= 0) return 0;
    left -= (unsigned long long)written;
  }
  return 1;
}

int main(int argc, char** argv) {
  char byte;
  if (argc != 2 || !write_bytes(kBlockBytes)) return 1;
  if (read(0, &byte, 1) != 1 || !write_bytes(strtoull(argv[1], NULL, 10))) return 1;
  while (read(0, &byte, 1) > 0) {
  }
  return 0;
}
