/* Less than any program in C does: it ends at once. What is left is the kernel's part of a start. */
void _start(void);
void _start(void) {
#if defined(__x86_64__)
  __asm__ volatile("xorl %edi, %edi; movl $60, %eax; syscall");
#elif defined(__aarch64__)
  __asm__ volatile("mov x0, #0; mov x8, #93; svc #0");
#else
#error "exit(0) in the machine's words"
#endif
  for (;;) {
  }
}
