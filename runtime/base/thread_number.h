/* Small numbers for living threads, to index what each has of its own. */
#ifndef BASE_THREAD_NUMBER_H
#define BASE_THREAD_NUMBER_H

enum { THREAD_NUMBERS = 256 };

/*
 * This thread's number, below THREAD_NUMBERS and no other living thread's; or THREAD_NUMBERS where all were taken when it
 * first asked. A thread that ends passes its number on: the next one sees what it wrote.
 */
unsigned thread_number(void);

#endif
