"use strict"; // sweep_rows
