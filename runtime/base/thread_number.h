/* Small numbers for living threads, to index what each has of its own. */
#ifndef BASE_THREAD_NUMBER_H
#define BASE_THREAD_NUMBER_H

enum { THREAD_NUMBERS = 256 };

/* The number plus 1; 0: not taken yet. */
extern _Thread_local unsigned thread_number_plus __attribute__((tls_model("initial-exec")));
unsigned thread_number_take(void);

/*
 * This thread's number, below THREAD_NUMBERS and no other living thread's; or THREAD_NUMBERS where all were taken when it
 * first asked. A thread that ends passes its number on: the next one sees what it wrote.
 */
static inline unsigned thread_number(void)
{
        return thread_number_plus ? thread_number_plus - 1 : thread_number_take();
}

#endif
