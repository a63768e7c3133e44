/* Of the structures that convolution.c is given: library.py holds it against its own. */
int layout(void) { return 1; }

/* Which of the library's instruction sets this processor has, and its system keeps the registers of; "" is none. */
const char *best_level(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return "";
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return "avx512";
    return "avx2";
#elif defined(__aarch64__)
    return "neon";
#else
    return "";
#endif
}
