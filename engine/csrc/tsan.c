/* For `tools/engine sanitize thread` only, and in no other build.
 *
 * Rust's standard library comes compiled, without what ThreadSanitizer puts into code. What is generic in it is compiled
 * with the engine, and is seen; two functions are not, by which one thread sees what another did under a lock: the way of
 * Mutex::lock where somebody else has it, and Condvar::wait. The linker's --wrap puts these in front of them, and they
 * tell ThreadSanitizer what it missed. Without them it would report every lock that two threads want at once.
 */
void __tsan_acquire(void *);
void __tsan_release(void *);

#define PASTE(before, name) before##name
#define NAMED(before, name) PASTE(before, name)
#define REAL(name) NAMED(__real_, name)
#define WRAP(name) NAMED(__wrap_, name)

/* LOCK and WAIT are their names in this compiler's library. */
void REAL(LOCK)(void *mutex);
void WRAP(LOCK)(void *mutex);
void REAL(WAIT)(void *condition, void *mutex);
void WRAP(WAIT)(void *condition, void *mutex);

void WRAP(LOCK)(void *mutex)
{
    REAL(LOCK)(mutex);
    __tsan_acquire(mutex);
}

void WRAP(WAIT)(void *condition, void *mutex)
{
    __tsan_release(mutex);
    REAL(WAIT)(condition, mutex);
    __tsan_acquire(mutex);
}
