"use strict"; // sweep_table
