/* SPDX-License-Identifier: Apache-2.0 */
extern const int rh_placeholder_stores_memory;
const int rh_placeholder_stores_memory = 0;
