/* The least that a program in C does, statically linked: what starting a context is compared with. */
int main(void) {
  return 0;
}
