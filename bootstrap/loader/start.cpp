// bootstrap/loader/start.cpp -- where the loader begins when it has no C library, and the functions the
// compiler and the decoder then still call. `used`: by calls that are not there yet while the whole is
// optimised.
#include <cstddef>

#include "bootstrap/loader/system.h"

extern "C" {

int loader_main(int argc, char** argv, char** environment);

// The kernel leaves argc, argv and the environment on the stack.
[[noreturn, gnu::used]] void loader_start(long* stack) {
  auto argc = int(stack[0]);
  auto** argv = reinterpret_cast<char**>(stack + 1);
  int code = loader_main(argc, argv, argv + argc + 1);
  for (;;) banyan::loader::system_call(__NR_exit_group, code);
}

#if defined(__x86_64__)
asm(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call loader_start\n");
#elif defined(__aarch64__)
asm(".globl _start\n_start:\n mov x29, #0\n mov x30, #0\n mov x0, sp\n bl loader_start\n");
#elif defined(__arm__)
asm(".syntax unified\n.arm\n.globl _start\n.type _start, %function\n"
    "_start:\n mov r0, sp\n bic sp, sp, #7\n bl loader_start\n");
#endif

[[gnu::used]] void* memcpy(void* to, const void* from, std::size_t count) {
#if defined(__x86_64__)
  void* at = to;
  asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(count) : : "memory");
#else
  auto* t = static_cast<unsigned char*>(to);
  auto* f = static_cast<const unsigned char*>(from);
  while (count-- > 0) *t++ = *f++;
#endif
  return to;
}

[[gnu::used]] void* memset(void* to, int value, std::size_t count) {
  auto* t = static_cast<unsigned char*>(to);
  while (count-- > 0) *t++ = static_cast<unsigned char>(value);
  return to;
}

}  // extern "C"
